"""Usage through HTTP: what is counted, who may see it, and who is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from onebox.core.errors import Unauthorized, WorkerLost
from onebox.core.results import Timing
from onebox.services.access.caller import Allowance, Caller
from onebox.services.in_process import Asked
from tests.unit.api.asking import ADMIN
from tests.unit.api.batching import Client, embedding
from tests.unit.api.later import Later, with_server
from tests.unit.api.sounds import FILE, form
from tests.unit.api.texts import HI

CHAT = ("/v1/chat/completions", {"messages": HI, "model": "m"})
PICTURE = ("/v1/images/generations", {"prompt": "a red circle", "size": "64x64", "n": 2})
LATER = {"prefer": "respond-async"}


async def rows(later: Later, **query: Any) -> list[dict[str, Any]]:
    answer = await later.client.get("/v1/usage/requests", params=query, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def total(later: Later, headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = await later.client.get("/v1/usage", headers=headers or {})
    assert answer.status_code == 200, answer.text
    return answer.json()["total"]


async def own_key(later: Later) -> str:
    return (await later.client.get("/v1/credits")).json()["key"]


async def chat(later: Later, **headers: str) -> Any:
    path, body = CHAT
    return await later.client.post(path, json=body, headers=headers)


def test_each_request_is_counted_by_what_it_made(services, tmp_path):
    async def use(later: Later):
        later.hand.timing = Timing(load_s=9, run_s=0.5)
        await chat(later, **{"x-request-id": "mine"})
        await later.client.post(PICTURE[0], json=PICTURE[1])
        await later.client.post("/v1/embeddings", json={"input": ["x"]})
        headers, body = form([("file", FILE), ("model", "m")])
        await later.client.post("/v1/audio/transcriptions", content=body, headers=headers)
        await later.client.post("/v1/audio/speech", json={"input": "Hello.", "voice": "alloy"})
        told = {row["task"]: row for row in await rows(later)}
        assert all(row["status"] == "ok" and row["requests"] == 1 for row in told.values())
        assert all(row["device_seconds"] == 0.5 for row in told.values())
        chatted = told["chat"]
        assert (chatted["request_id"], chatted["model"]) == ("mine", "m")
        assert chatted["prompt_tokens"] > 0
        assert chatted["completion_tokens"] > 0
        assert told["text-to-image"]["pictures"] == 2
        assert told["embeddings"]["prompt_tokens"] == 1
        assert told["transcription"]["audio_seconds"] == 1.0
        assert told["speech"]["audio_seconds"] == 1.0

    with_server(services, tmp_path, use)


def test_what_failed_is_told_and_not_counted(services, tmp_path):
    async def use(later: Later):
        later.hand.failures = [WorkerLost("the worker died")]
        assert (await chat(later)).status_code == 503
        (row,) = await rows(later)
        assert (row["status"], row["requests"], row["prompt_tokens"]) == ("worker_lost", 0, 0)
        assert await total(later) == {
            **{"ended": 1, "requests": 0, "prompt_tokens": 0, "completion_tokens": 0},
            **{"cached_tokens": 0, "pictures": 0, "audio_seconds": 0, "video_seconds": 0},
            **{"device_seconds": 0, "credits": 0},
        }

    with_server(services, tmp_path, use)


def test_counting_tokens_is_no_usage(services, tmp_path):
    async def use(later: Later):
        answer = await later.client.post("/v1/tokenize", json={"text": "x", "model": "m"})
        assert answer.status_code in (200, 400, 500), answer.text
        assert await rows(later) == []

    with_server(services, tmp_path, use, daily_quota={"requests": 0})


def test_a_job_is_counted_when_it_runs(services, tmp_path):
    async def use(later: Later):
        job = (await chat(later, **LATER)).json()
        await later.finished(job["id"])
        (row,) = await rows(later)
        assert (row["job_id"], row["task"], row["status"]) == (job["id"], "chat", "ok")
        assert row["key"] == await own_key(later)

    with_server(services, tmp_path, use)


def test_a_job_that_was_accepted_is_done_whatever_is_left(services, tmp_path):
    async def use(later: Later):
        stuck = asyncio.Event()
        later.hand.before = lambda _: stuck.wait()
        jobs = [(await chat(later, **LATER)).json() for _ in range(2)]
        key = await own_key(later)
        await later.client.post(f"/v1/keys/{key}/credits", json={"set": 0}, headers=ADMIN)
        stuck.set()
        ended = [await later.finished(job["id"]) for job in jobs]
        assert [job["status"] for job in ended] == ["completed", "completed"]
        assert (await chat(later)).status_code == 403

    with_server(services, tmp_path, use)


def test_lines_of_a_batch_are_refused_when_nothing_is_left(services, tmp_path):
    async def use(later: Later):
        client = Client(later)
        batch = await client.run(*[embedding(f"line-{n}") for n in range(3)])
        assert (batch.request_counts.completed, batch.request_counts.failed) == (0, 3)
        errors = await client.lines(batch.error_file_id)
        codes = {line["response"]["body"]["error"]["code"] for line in errors.values()}
        assert codes == {"quota_exceeded"}

    with_server(services, tmp_path, use, daily_quota={"requests": 0})


def test_a_line_of_a_batch_is_held_to_what_its_key_may_now(services, tmp_path):
    async def use(later: Later):
        keys, client = services.access.keys, Client(later)
        stored, secret = await keys.create("bounded", allowance=Allowance(daily={"requests": 1}))
        client.sdk.api_key = secret
        batch = await client.run(embedding("first"))
        assert batch.request_counts.completed == 1
        batch = await client.run(embedding("second"))
        (refused,) = (await client.lines(batch.error_file_id)).values()
        assert refused["response"]["status_code"] == 429
        await keys.revoke(stored.id)
        asked = Asked("/v1/embeddings", b'{"input": ["x"]}')
        with pytest.raises(Unauthorized, match=r"the key is revoked"):
            await later.deferred.record(
                asked, Caller(f"key:{stored.id}", frozenset({"infer"})), "r"
            )

    with_server(services, tmp_path, use)


def test_a_quota_that_is_used_up_is_a_429_that_nobody_retries(services, tmp_path):
    async def use(later: Later):
        assert (await chat(later)).status_code == 200
        refused = await chat(later)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (429, "quota_exceeded")
        assert (error["details"]["unit"], error["details"]["limit"]) == ("requests", 1)
        assert refused.headers["x-should-retry"] == "false"
        assert int(refused.headers["retry-after"]) > 0
        assert (await rows(later))[0]["status"] == "ok"
        quotas = (await later.client.get("/v1/usage/quotas")).json()
        assert quotas["day"] == [{"unit": "requests", "limit": 1, "used": 1}]
        assert quotas["month"] == []

    with_server(services, tmp_path, use, daily_quota={"requests": 1})


def test_credits_are_given_charged_and_used_up(services, tmp_path):
    async def use(later: Later):
        path = f"/v1/keys/{await own_key(later)}/credits"
        for body, left in (({"add": 3}, 3), ({"add": -1}, 2), ({"set": 5}, 5)):
            answer = await later.client.post(path, json=body, headers=ADMIN)
            assert (answer.status_code, answer.json()["credits"]) == (200, left)
        for left in (3, 1, -1):
            answer = await later.client.post(PICTURE[0], json=PICTURE[1])
            assert answer.status_code == 200, answer.text
            await later.usage.ledger.flush()
            assert (await later.client.get("/v1/credits")).json()["credits"] == left
        refused = await later.client.post(PICTURE[0], json=PICTURE[1])
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (403, "insufficient_credits")
        told = (await later.client.get("/v1/credits")).json()
        assert [(it["kind"], it["amount"], it["balance"]) for it in told["changes"]] == [
            ("set", 5, 5),
            ("add", -1, 2),
            ("add", 3, 3),
        ]
        assert (await total(later))["credits"] == 6
        balances = (await later.client.get("/v1/credits/balances", headers=ADMIN)).json()
        assert [it["credits"] for it in balances["data"]] == [-1]
        key = balances["data"][0]["key"]
        assert (balances["first_id"], balances["last_id"]) == (key, key)
        removed = await later.client.delete(path, headers=ADMIN)
        assert removed.json()["credits"] is None
        assert (await chat(later)).status_code == 200

    with_server(services, tmp_path, use, prices={"pictures": 1.0})


def test_one_sees_only_what_is_ones_own(services, tmp_path):
    async def use(later: Later):
        other = later.sign("other")
        await chat(later)
        await chat(later, **other)
        await chat(later, **other)
        key = await own_key(later)
        assert (await total(later))["requests"] == 1
        assert (await total(later, other))["requests"] == 2
        assert (await total(later, ADMIN))["requests"] == 3
        grouped = await later.client.get("/v1/usage", params={"group_by": "key"}, headers=ADMIN)
        assert [(row["key"], row["requests"]) for row in grouped.json()["data"]] == [
            ("jwt:other", 2),
            (key, 1),
        ]
        for path in ("/v1/usage", "/v1/usage/requests", "/v1/credits"):
            params = {"key": "jwt:other"}
            assert (await later.client.get(path, params=params)).status_code == 403
            assert (await later.client.get(path, params=params, headers=ADMIN)).status_code == 200
            assert (await later.client.get(path, params={"key": key})).status_code == 200

    with_server(services, tmp_path, use)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"start": "2026-02-30"}, "start"),
        ({"end": "20260101"}, "end"),
        ({"end": "2026-1-1"}, "end"),
        ({"start": "2026-02-01", "end": "2026-01-31"}, "start"),
        ({"bucket": "hour"}, "bucket"),
        ({"group_by": "caller"}, "group_by.0"),
        ({"page": 0}, "page"),
        ({"limit": 1001}, "limit"),
    ],
)
def test_a_question_that_means_nothing_is_refused(services, tmp_path, params, field):
    async def use(later: Later):
        answer = await later.client.get("/v1/usage", params=params)
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, field)

    with_server(services, tmp_path, use)


@pytest.mark.parametrize("body", [{}, {"add": 1, "set": 1}, {"add": "x"}, {"set": 1e16}, {"n": 1}])
def test_a_change_of_credits_that_means_nothing_is_refused(services, tmp_path, body):
    async def use(later: Later):
        answer = await later.client.post("/v1/keys/key:1/credits", json=body, headers=ADMIN)
        assert answer.status_code == 422, answer.text

    with_server(services, tmp_path, use)


@pytest.mark.parametrize("key", ["key_00000000000000000000000000", "nobody"])
def test_credits_are_for_keys_that_there_are(services, tmp_path, key):
    async def use(later: Later):
        path = f"/v1/keys/{key}/credits"
        for answer in (
            await later.client.post(path, json={"add": 1}, headers=ADMIN),
            await later.client.delete(path, headers=ADMIN),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "key_not_found")

    with_server(services, tmp_path, use)


@pytest.mark.parametrize("method", ["post", "delete"])
def test_only_an_admin_changes_credits(services, tmp_path, method):
    async def use(later: Later):
        answer = await getattr(later.client, method)("/v1/keys/key:1/credits")
        assert answer.status_code == 403

    with_server(services, tmp_path, use)
