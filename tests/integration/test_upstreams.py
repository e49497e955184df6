"""Models of a second server behind the routes of this one: they answer as if asked there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.asking import running_requests
from tests.support.listening import post, speech_file
from tests.support.server import ADMIN_KEY, Server, wait_for
from tests.support.speaking import speech
from tests.support.stand_in import BREAK, StandIn, events_reply
from tests.support.talking import CHAT, body, stream, writing
from tests.support.upstream_pair import KEY, Pair, running_pair, running_stand_in

DRAWN = {"prompt": "a cat", "seed": 3, "steps": 2, "size": "64x64"}
# They say when and which request, and by which name the model was asked for.
OWN = ("id", "created", "model")


@pytest.fixture(scope="module")
def wrong() -> Iterator[StandIn]:
    with running_stand_in() as server:
        yield server


@pytest.fixture(scope="module")
def pair(wrong: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running_pair(tmp_path_factory.mktemp("pair"), wrong) as servers:
        yield servers


@pytest.fixture
def near(pair: Pair) -> Server:
    return pair.near


@pytest.fixture
def there(pair: Pair) -> Iterator[httpx.Client]:
    with pair.far.client() as client:
        yield client


@pytest.fixture
def here(near: Server) -> Iterator[httpx.Client]:
    with near.client() as client:
        yield client


def plain(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in OWN}


def chunks(client: httpx.Client, model: str, **fields: Any) -> list[dict[str, Any]]:
    usage = {"include_usage": True}
    asked = body(model=model, stream_options=usage, **fields)
    return [plain(chunk) for chunk in stream(client, **asked)]


def asked(client: httpx.Client, path: str, **fields: Any) -> Any:
    answer = client.post(path, json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_they_are_listed_with_their_owner_and_without_a_place(here):
    listed = {model["id"]: model for model in here.get("/v1/models").json()["data"]}
    told = listed["far-llama"]
    assert (told["owned_by"], told["upstream"], told["sha256"]) == ("far", "far", None)
    assert (told["status"], told["bytes"], told["tasks"]) == ("ready", 0, ["chat", "completion"])
    one = here.get("/v1/models/far-llama").json()
    assert (one["path"], one["size"], one["extension"]) == (None, 0, "")
    assert listed["spare"]["owned_by"] == "onebox"


@pytest.mark.parametrize(
    "fields", [{"stop": ["e"], "temperature": 0.3}, {"n": 2, "logprobs": True, "top_logprobs": 2}]
)
def test_a_chat_streams_what_it_streams_there(here, there, fields):
    assert chunks(here, "far-llama", **fields) == chunks(there, "llama", **fields)


def test_a_chat_at_once_is_the_same(here, there):
    told = [
        plain(asked(client, "/v1/chat/completions", **body(model=model)))
        for client, model in ((here, "far-llama"), (there, "llama"))
    ]
    assert told[0] == told[1]


def test_a_completion_is_the_same(here, there):
    given = {"prompt": ["Once", "Twice"], "max_tokens": 8, "seed": 1, "logprobs": 2}
    told = [
        plain(asked(client, "/v1/completions", **given, model=model))
        for client, model in ((here, "far-llama"), (there, "llama"))
    ]
    assert told[0] == told[1]


def test_vectors_are_the_same(here, there):
    given = {"input": ["a cat", "a mat"], "encoding_format": "base64", "dimensions": 8}
    told = [
        plain(asked(client, "/v1/embeddings", **given, model=model))
        for client, model in ((here, "far-bert"), (there, "bert"))
    ]
    assert told[0] == told[1]


def test_pictures_are_the_same_to_the_last_bit_made_and_changed(here, there):
    items = []
    for client, model in ((here, "far-sd"), (there, "sd")):
        made = asked(client, "/v1/images/generations", **DRAWN, model=model)["data"][0]["b64_json"]
        image = f"data:image/png;base64,{made}"
        given = {**DRAWN, "image": image, "strength": 0.9, "model": model}
        items.append((made, asked(client, "/v1/images/edits", **given)["data"]))
    assert items[0] == items[1]


def test_speech_is_the_same(here, there):
    told = [
        speech(client, "Hello there.", model=model, response_format="wav")
        for client, model in ((here, "far-voice"), (there, "voice"))
    ]
    assert told[0] == told[1]


def test_a_transcript_is_the_same(here, there):
    told = [
        post(client, speech_file("flac"), model=model, response_format="verbose_json", seed="1")
        for client, model in ((here, "far-ears"), (there, "ears"))
    ]
    assert told[0].text == told[1].text


def test_a_transcript_streams_as_it_does_there(here, there):
    told = [
        post(client, speech_file("flac"), model=model, stream="true", seed="1").text
        for client, model in ((here, "far-ears"), (there, "ears"))
    ]
    assert "transcript.text.done" in told[0]
    assert told[0] == told[1]


def test_openais_client_reads_it(near):
    with near.sdk() as sdk:
        answer = sdk.chat.completions.create(
            model="far-llama", messages=[{"role": "user", "content": "Hello"}], max_tokens=4
        )
    assert answer.model == "far-llama"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_what_is_wrong_with_a_request_is_told_as_it_is_there(here):
    answer = here.post("/v1/chat/completions", json=body(model="far-llama", max_tokens=100_000))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "context_length_exceeded")


def test_a_job_runs_there(here, there):
    job = here.post(
        "/v1/jobs", json={"task": "embeddings", "model": "far-bert", "input": {"inputs": ["a"]}}
    )
    assert job.status_code < 300, job.text
    told = wait_for(lambda: _ended(here, job.json()["id"]))
    assert (told["status"], told["model_sha256"]) == ("completed", None)


def test_a_request_for_later_runs_there(here):
    given = body(model="far-llama")
    job = here.post(CHAT, json=given, headers={"Prefer": "respond-async"})
    assert job.status_code == 202, job.text
    assert wait_for(lambda: _ended(here, job.json()["id"]))["status"] == "completed"
    later = here.get(f"/v1/jobs/{job.json()['id']}/result").json()
    assert later["choices"] == here.post(CHAT, json=given).json()["choices"]


def test_every_response_of_a_conversation_is_written_there(near):
    with near.sdk() as sdk:
        told = sdk.responses.create(model="far-llama", input="Hello", max_output_tokens=4)
        more = sdk.responses.create(
            model="far-llama", input="More", previous_response_id=told.id, max_output_tokens=4
        )
    assert (told.model, more.model) == ("far-llama", "far-llama")
    assert more.usage is not None
    assert more.usage.output_tokens > 0


def _ended(client: httpx.Client, job_id: str) -> dict[str, Any] | None:
    told = client.get(f"/v1/jobs/{job_id}").json()
    return told if told["status"] in ("completed", "failed") else None


def test_a_client_that_leaves_ends_its_work_there(here, there):
    with writing(here, "leaves", model="far-llama"):
        wait_for(lambda: running_requests(here))
        assert here.get("/v1/status").json()["running"]["requests"][0]["worker"] is None
        wait_for(lambda: _all_running(there))
    wait_for(lambda: not _all_running(there))


def _all_running(client: httpx.Client) -> Any:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    return client.get("/v1/status", headers=headers).json()["running"]["requests"]


@pytest.mark.parametrize("what", ["load", "unload"])
def test_memory_is_no_matter_of_theirs(near, what):
    with near.client(ADMIN_KEY) as chief:
        answer = chief.post(f"/v1/models/far-llama/{what}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "task_not_supported")


def chunk(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


@pytest.mark.parametrize(
    "end", [{"error": {"message": f"no more for {KEY}"}}, BREAK], ids=["error", "break"]
)
def test_what_goes_wrong_after_the_first_text_is_told_in_the_stream(here, wrong, end):
    wrong.replies = deque([events_reply(chunk("first"), end)])
    before = len(wrong.asked)
    with here.stream("POST", CHAT, json=body(model="wrong-llama", stream=True)) as answer:
        assert answer.status_code == 200
        told = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert '"first"' in told[1]
    assert '"code":"upstream_error"' in told[-1]
    assert KEY not in told[-1]
    (sent,) = wrong.asked[before:]
    assert sent.headers["x-request-id"].startswith(answer.headers["x-request-id"] + ".")


def test_a_server_that_is_its_own_upstream_says_so(here):
    answer = here.post(CHAT, json=body(model="mirror"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (508, "upstream_loop")


def made_key(near: Server, **fields: Any) -> tuple[str, str]:
    """A new key and its id."""
    with near.client(ADMIN_KEY) as chief:
        made = chief.post("/v1/keys", json={"name": "one", **fields}).json()
    return made["key"], made["id"]


def rows_of(near: Server, key_id: str) -> list[tuple[str, str, float]]:
    """Model, status and tokens of each request that is counted, the newest first."""
    with near.client(ADMIN_KEY) as chief:
        told = chief.get("/v1/usage/requests", params={"key": key_id}).json()["data"]
    return [(row["model"], row["status"], row["completion_tokens"]) for row in told]


def test_their_tokens_are_counted_and_limited(near):
    key, key_id = made_key(near, tokens_per_minute=40)
    with near.client(key) as client:
        used = asked(client, CHAT, **body(model="far-llama"))["usage"]
        refused = client.post(CHAT, json=body(model="far-llama"))
    assert used["total_tokens"] >= 40
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    (row,) = wait_for(lambda: rows_of(near, key_id))
    assert row == ("far-llama", "ok", used["completion_tokens"])


def test_without_the_other_server_it_is_said_so_and_another_model_takes_over(pair, near, here):
    pair.far.stop()
    answer = here.post("/v1/embeddings", json={"model": "far-bert", "input": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
    key, key_id = made_key(near, models=["far-llama", "spare"])
    with near.client(key) as client:
        answer = client.post(CHAT, json=body(model="far-llama"))
    assert (answer.status_code, answer.json()["model"]) == (200, "spare")
    assert answer.headers["x-onebox-fallback"] == "spare"
    # Counted once as what ran; the try that came before took nothing.
    told = wait_for(lambda: len(found := rows_of(near, key_id)) == 2 and found)
    assert sorted(told) == [("far-llama", "upstream_error", 0), ("spare", "ok", 16)]
    told = stream(here, **body(model="far-llama"))
    assert {chunk["model"] for chunk in told} == {"spare"}
    page = here.get("/metrics").text
    assert 'onebox_fallbacks_total{fallback="spare",model="far-llama"' in page


def test_a_key_gets_no_fallback_that_it_may_not_use(near):
    key, _ = made_key(near, models=["far-llama"])
    with near.client(key) as client:
        answer = client.post(CHAT, json=body(model="far-llama"))
        refused = client.post(CHAT, json=body(model="spare"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")


def test_the_key_is_nowhere(near, here):
    told = [here.get(path).text for path in ("/v1/models", "/v1/status", "/metrics", "/v1/jobs")]
    assert KEY not in "".join([*near.log(), *told])
