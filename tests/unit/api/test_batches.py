"""`/v1/batches`: a file of requests, and files of what they were answered with."""

from __future__ import annotations

import json
import time

import openai
import pytest
import structlog

from onebox.core.errors import InferenceFailed
from onebox.services.jobs.query import JobQuery
from tests.unit.api.batching import (
    CHAT,
    EVERYBODY,
    HOURS,
    PICTURES,
    Client,
    embedding,
    line,
)
from tests.unit.api.hand import Stuck
from tests.unit.api.later import Later, with_server
from tests.unit.api.reading import PNG
from tests.unit.api.sounds import WAV
from tests.unit.api.texts import HI


def test_each_line_is_answered_as_by_its_route(services, tmp_path):
    async def use(later: Later):
        client = Client(later)
        given = [embedding(f"line {number}", "x" * number) for number in range(1, 121)]
        batch = await client.run(*given)
        assert (batch.status, batch.error_file_id, batch.errors) == ("completed", None, None)
        counts = batch.request_counts
        assert (counts.total, counts.completed, counts.failed) == (120, 120, 0)
        assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at
        assert batch.finalizing_at <= batch.completed_at <= batch.expires_at
        told = await client.lines(batch.output_file_id)
        assert list(told) == [it["custom_id"] for it in given]
        for number in (1, 120):
            answer = told[f"line {number}"]
            assert (answer["error"], answer["response"]["status_code"]) == (None, 200)
            assert answer["response"]["body"]["data"][0]["embedding"] == [float(number)]
        file = await client.sdk.files.retrieve(batch.output_file_id)
        assert file.purpose == "batch_output"
        assert {prepared.options.priority for prepared in later.hand.seen} == {"batch"}

    with_server(services, tmp_path, use)


@pytest.mark.parametrize(
    ("url", "body"),
    [
        (CHAT, {"model": "m", "messages": HI}),
        ("/v1/completions", {"model": "m", "prompt": "Once"}),
        ("/v1/responses", {"model": "m", "input": "Hi"}),
        (PICTURES, {"prompt": "x", "seed": 7}),
    ],
)
def test_endpoints(services, tmp_path, url, body):
    async def use(later: Later):
        client = Client(later)
        batch = await client.run(line("a", url, **body), url=url)
        assert batch.status == "completed"
        told = await client.lines(batch.output_file_id)
        now = await later.client.post(url, json=body)
        assert told["a"]["response"]["body"].keys() == now.json().keys()
        # Lines are later already.
        batch = await client.run(line("b", url, **body, background=True), url=url)
        told = await client.lines(batch.output_file_id)
        assert told["b"]["response"]["body"].keys() == now.json().keys()
        assert told["b"]["response"]["body"].get("background") is not True

    with_server(services, tmp_path, use)


def test_a_route_of_forms_takes_files_and_data_urls(services, tmp_path):
    async def use(later: Later):
        client, url = Client(later), "/v1/audio/transcriptions"
        stored = await client.sdk.files.create(file=("a.wav", WAV), purpose="user_data")
        batch = await client.run(
            line("file", url, file={"file_id": stored.id}, timestamp_granularities=["segment"]),
            line("url", url, file="data:audio/wav;base64,AAAA", response_format="text"),
            line("gone", url, file={"file_id": "file_" + "0" * 26}),
            line("none", url, file=7),
            url=url,
        )
        told = await client.lines(batch.output_file_id)
        failed = await client.lines(batch.error_file_id)
        assert told["url"]["response"]["body"].strip() == "3 bytes"
        assert failed["gone"]["response"]["status_code"] == 404
        assert failed["none"]["response"]["body"]["error"]["param"] == "file"
        # Granularities need another format: the route says so.
        error = failed["file"]["response"]["body"]["error"]
        assert error["param"] == "timestamp_granularities"

    with_server(services, tmp_path, use)


def test_bad_lines_are_told_of_and_the_others_done(services, tmp_path):
    async def use(later: Later):
        client = Client(later)
        later.hand.failures = [InferenceFailed("the model says no")]
        batch = await client.run(
            embedding("fails"),
            embedding("good"),
            embedding("unknown model", model="unknown"),
            embedding("unknown field", nonsense=1),
            embedding("good"),
            {**embedding("get"), "method": "GET"},
            line("other", CHAT, messages=HI),
            b"not JSON",
            b'{"method": "POST"}',
            b"",
        )
        counts = batch.request_counts
        assert batch.status == "completed"
        assert (counts.total, counts.completed, counts.failed) == (9, 1, 8)
        assert list(await client.lines(batch.output_file_id)) == ["good"]
        content = await client.sdk.files.content(batch.error_file_id)
        failed = [json.loads(text) for text in content.text.splitlines()]
        answers = {it["custom_id"]: it["response"] for it in failed if it["response"]}
        told = {
            name: (it["status_code"], it["body"]["error"]["code"]) for name, it in answers.items()
        }
        assert told == {
            "fails": (500, "inference_failed"),
            "unknown model": (404, "model_not_found"),
            "unknown field": (400, "unknown_parameter"),
        }
        assert [(it["error"]["code"], it["error"]["line"]) for it in failed if it["error"]] == [
            ("duplicate_custom_id", 5),
            ("invalid_method", 6),
            ("mismatched_endpoint", 7),
            ("invalid_json_line", 8),
            ("invalid_custom_id", 9),
        ]

    with_server(services, tmp_path, use)


@pytest.mark.parametrize(
    ("content", "code", "number"),
    [
        ([b"a,b\n1,2"], "invalid_json_line", 1),
        ([PNG], "invalid_json_line", 1),
        ([b"\n\n"], "empty_file", None),
        ([{**embedding("a"), "url": CHAT}], "mismatched_endpoint", 1),
        ([b"[" * 100_000], "invalid_json_line", 1),
        ([b'{"custom_id": "' + b"a" * 2**20 + b'"}'], "line_too_long", 1),
    ],
)
def test_a_file_without_one_good_line_fails_the_batch(services, tmp_path, content, code, number):
    async def use(later: Later):
        batch = await Client(later).run(*content)
        assert (batch.status, batch.output_file_id) == ("failed", None)
        assert batch.failed_at is not None
        first = batch.errors.data[0]
        assert (first.code, first.line) == (code, number)

    with_server(services, tmp_path, use)


def test_the_lines_go_with_the_end_of_the_batch(services, tmp_path):
    async def use(later: Later):
        await Client(later).run(embedding("a"), embedding("b"))
        assert await later.jobs.page(EVERYBODY, JobQuery()) == ([], False)

    with_server(services, tmp_path, use)


def test_one_caller_has_so_many_batches_at_a_time(services, tmp_path, monkeypatch):
    monkeypatch.setattr("onebox.services.batches.batches.MAX_ACTIVE", 1)

    async def use(later: Later):
        client = Client(later)
        later.hand.before = stuck = Stuck()
        first = await client.begin(embedding("a", "stuck"))
        await stuck.begun.wait()
        with pytest.raises(openai.RateLimitError, match="batches of yours have not ended"):
            await client.begin(embedding("b"))
        await client.sdk.batches.cancel(first)
        await client.ended(first)
        assert (await client.run(embedding("b"))).status == "completed"

    with_server(services, tmp_path, use)


def test_a_cancelled_batch_keeps_what_was_answered(services, tmp_path):
    async def use(later: Later):
        client = Client(later)
        later.hand.before = stuck = Stuck()
        texts = ["x"] * 3 + ["stuck"] * 17
        batch_id = await client.begin(*(embedding(str(n), text) for n, text in enumerate(texts)))
        await stuck.begun.wait()
        await later.until(lambda: len(later.hand.seen) == 5)
        batch = await client.sdk.batches.cancel(batch_id)
        assert batch.status == "cancelling"
        batch = await client.ended(batch_id)
        assert (batch.status, batch.request_counts.completed) == ("cancelled", 3)
        assert batch.cancelling_at <= batch.cancelled_at
        assert len(await client.lines(batch.output_file_id)) == 3
        failed = await client.lines(batch.error_file_id)
        assert {it["error"]["code"] for it in failed.values()} == {"batch_cancelled"}
        assert len(failed) == 17
        again = await client.sdk.batches.cancel(batch_id)
        assert again.status == "cancelled"

    with_server(services, tmp_path, use)


def test_a_batch_goes_on_after_a_restart(services, tmp_path):
    texts = {number: "x" * number for number in range(1, 111)} | {5: "stuck"}

    async def first(later: Later):
        client = Client(later)
        later.hand.before = stuck = Stuck()
        batch_id = await client.begin(*(embedding(str(n), text) for n, text in texts.items()))
        await stuck.begun.wait()
        return batch_id

    async def second(later: Later):
        client = Client(later)
        batch = await client.ended(batch_id)
        counts = batch.request_counts
        assert (batch.status, counts.total, counts.completed) == ("completed", 110, 110)
        told = await client.lines(batch.output_file_id)
        sizes = [it["response"]["body"]["data"][0]["embedding"] for it in told.values()]
        assert sizes == [[float(len(text))] for text in texts.values()]

    batch_id = with_server(services, tmp_path, first)
    with_server(services, tmp_path, second)


def test_what_is_not_done_in_its_time_is_not_done(services, tmp_path):
    async def first(later: Later):
        client = Client(later)
        later.hand.before = Stuck()
        late = [embedding(name, "stuck") for name in ("late", "later", "latest")]
        batch_id = await client.begin(embedding("done"), *late)
        await later.until(lambda: len(later.hand.seen) == 3)
        return batch_id

    async def second(later: Later):
        later.hand.before = Stuck()
        client = Client(later)
        batch = await client.ended(batch_id)
        assert (batch.status, batch.request_counts.completed) == ("expired", 1)
        assert batch.expired_at is not None
        assert list(await client.lines(batch.output_file_id)) == ["done"]
        failed = await client.lines(batch.error_file_id)
        assert [it["error"]["code"] for it in failed.values()] == ["batch_expired"] * 3

    batch_id = with_server(services, tmp_path, first)
    with_server(services, tmp_path, second, clock=lambda: time.time() + 25 * HOURS)


def test_a_line_that_a_client_cancels_by_itself_ends_no_other(services, tmp_path):
    async def use(later: Later):
        client = Client(later)
        later.hand.before = stuck = Stuck()
        batch_id = await client.begin(embedding("a", "stuck"))
        await stuck.begun.wait()
        (job,), _ = await later.jobs.page(EVERYBODY, JobQuery())
        await later.client.post(f"/v1/jobs/{job.id}/cancel")
        batch = await client.ended(batch_id)
        assert (batch.status, batch.request_counts.failed) == ("completed", 1)
        failed = await client.lines(batch.error_file_id)
        assert failed["a"]["error"]["code"] == "batch_cancelled"

    with_server(services, tmp_path, use)


def test_a_batch_that_waits_for_room_says_so_once(services, tmp_path):
    async def use(later: Later):
        submit, tries = later.jobs.submit, []

        async def noted(jobs):
            tries.append(len(jobs))
            return await submit(jobs)

        later.jobs.submit = noted
        with structlog.testing.capture_logs() as logs:
            batch_id = await Client(later).begin(embedding("a"), embedding("b"))
            for number in range(1, 5):
                await later.until(lambda number=number: len(tries) == number)
                # As every two seconds, where servers share a database.
                later.batches._courses[batch_id][0].wake()
        assert [log["event"] for log in logs].count("batch_waits") == 1

    with_server(services, tmp_path, use, max_jobs=1)
