"""OpenAI's routes, answered later: with a job, whose result is what they would have answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from onebox.core.errors import InferenceFailed, WorkerLost
from tests.unit.api.asking import ask
from tests.unit.api.later import Later, with_server
from tests.unit.api.sounds import FILE, WAV, Part, form
from tests.unit.api.texts import HI

LATER = {"prefer": "respond-async"}
PICTURE = {"prompt": "a red circle", "seed": 5, "size": "64x64"}
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HI, "model": "m"},
    "/v1/completions": {"prompt": "Once", "model": "m"},
    "/v1/responses": {"input": "Hi", "model": "m"},
    "/v1/embeddings": {"input": ["one", "three"]},
    "/v1/images/generations": PICTURE,
    "/v1/audio/speech": {"input": "Hello.", "voice": "alloy", "seed": 3},
}
# What is another for each answer: when it was made, and the name it was given.
OWN = ("created", "created_at", "completed_at", "id")


def comparable(answer: Any) -> Any:
    """What two answers to one request have in common."""
    if not answer.headers["content-type"].startswith("application/json"):
        return answer.content
    told = answer.json()
    for item in told.get("output", []):
        item.pop("id")
    return {name: value for name, value in told.items() if name not in OWN}


def asked(prepared: Any) -> dict[str, Any]:
    """The task's input but for a seed that is drawn."""
    given = prepared.input.model_dump()
    return {name: value for name, value in given.items() if name != "seed"}


def shown(prepared: Any) -> dict[str, int]:
    """A picture shows itself while it is made as a job."""
    name = "partial_images"
    return {name: 3} if name in type(prepared.input).model_fields else {}


@pytest.mark.parametrize("path", ROUTES)
def test_a_job_brings_what_the_route_answers(services, tmp_path, path):
    async def use(later: Later):
        now = await later.client.post(path, json=ROUTES[path])
        accepted = await later.client.post(path, json=ROUTES[path], headers=LATER)
        assert (now.status_code, accepted.status_code) == (200, 202), (now.text, accepted.text)
        assert accepted.headers["preference-applied"] == "respond-async"
        job = accepted.json()
        assert accepted.headers["location"] == f"/v1/jobs/{job['id']}"
        assert (job["object"], job["status"], job["request"]) == ("job", "queued", {"path": path})
        ended = await later.finished(job["id"])
        assert (ended["status"], ended["error"]) == ("completed", None)
        result = await later.result(ended)
        assert result.headers["content-type"] == now.headers["content-type"]
        assert comparable(result) == comparable(now)
        first, second = later.hand.seen
        assert asked(second) == {**asked(first), **shown(first)}
        assert (second.options.client_id, second.options.priority) == (job["id"], "job")

    with_server(services, tmp_path, use)


@pytest.mark.parametrize("path", [path for path in ROUTES if path != "/v1/responses"])
def test_a_field_of_the_body_asks_for_it_too(services, tmp_path, path):
    async def use(later: Later):
        body = {**ROUTES[path], "background": True}
        answer = await later.client.post(path, json=body)
        assert answer.status_code == 202, answer.text
        assert "preference-applied" not in answer.headers
        assert (await later.finished(answer.json()["id"]))["status"] == "completed"

    with_server(services, tmp_path, use)


@pytest.mark.parametrize("value", [False, None])
def test_a_field_that_says_no_changes_nothing(services, tmp_path, value):
    async def use(later: Later):
        path = "/v1/chat/completions"
        answer = await later.client.post(path, json={**ROUTES[path], "background": value})
        assert answer.status_code == 200, answer.text

    with_server(services, tmp_path, use)


def test_a_pictures_background_is_no_wish(services, tmp_path):
    async def use(later: Later):
        body = {**PICTURE, "background": "opaque"}
        answer = await later.client.post("/v1/images/generations", json=body)
        assert (answer.status_code, answer.json()["background"]) == (200, "opaque")

    with_server(services, tmp_path, use)


def test_a_form_is_answered_later_with_its_files(services, tmp_path):
    async def use(later: Later):
        parts: list[tuple[str, Part]] = [("file", FILE), ("response_format", "text")]
        for further, headers in (([("background", "true")], {}), ([], LATER)):
            given, body = form([*parts, *further])
            path = "/v1/audio/transcriptions"
            answer = await later.client.post(path, content=body, headers={**given, **headers})
            assert answer.status_code == 202, answer.text
            result = await later.result(await later.finished(answer.json()["id"]))
            assert result.text.strip() == f"{len(WAV)} bytes"
            assert result.headers["content-type"].startswith("text/plain")

    with_server(services, tmp_path, use)


def test_the_seed_is_chosen_when_it_is_submitted(services, tmp_path):
    async def use(later: Later):
        later.hand.failures = [WorkerLost("gone")]
        body = {"prompt": "x"}
        answer = await later.client.post("/v1/images/generations", json=body, headers=LATER)
        ended = await later.finished(answer.json()["id"])
        assert (ended["status"], ended["attempt"]) == ("completed", 2)
        lost, other = later.hand.seen
        assert lost.input == other.input
        result = (await later.result(ended)).json()
        assert [item["seed"] for item in result["data"]] == [lost.input.seed]

    with_server(services, tmp_path, use)


def test_a_voice_has_the_seed_that_its_answer_tells(services, tmp_path):
    async def use(later: Later):
        later.hand.failures = [WorkerLost("gone")]
        body = {"input": "Hello.", "voice": "alloy"}
        answer = await later.client.post("/v1/audio/speech", json=body, headers=LATER)
        ended = await later.finished(answer.json()["id"])
        (artifact,) = ended["result"]["artifacts"]
        first, second = later.hand.seen
        assert first.input.seed == second.input.seed == int(artifact["seed"])
        assert (await later.result(ended)).content == b"sound of %d" % first.input.seed

    with_server(services, tmp_path, use)


def test_what_is_refused_is_refused_at_once(services, tmp_path):
    async def use(later: Later):
        path = "/v1/chat/completions"
        for change, status, code in (
            ({"model": "unknown"}, 404, "model_not_found"),
            ({"messages": []}, 400, "invalid_value"),
            ({"nonsense": 1}, 400, "unknown_parameter"),
        ):
            body = {**ROUTES[path], **change}
            answer = await later.client.post(path, json=body, headers=LATER)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)

    with_server(services, tmp_path, use)


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/v1/chat/completions", {"stream": True}),
        ("/v1/responses", {"stream": True}),
        ("/v1/images/generations", {"stream": True}),
        ("/v1/audio/speech", {"stream_format": "sse"}),
    ],
)
def test_events_cannot_be_had_later(services, tmp_path, path, change):
    async def use(later: Later):
        body = {**ROUTES[path], **change}
        answer = await later.client.post(path, json=body, headers=LATER)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream")

    with_server(services, tmp_path, use)


def test_the_error_of_the_route_is_the_jobs(services, tmp_path):
    async def use(later: Later):
        later.hand.failures = [InferenceFailed("the model says no")]
        body = ROUTES["/v1/chat/completions"]
        answer = await later.client.post("/v1/chat/completions", json=body, headers=LATER)
        ended = await later.finished(answer.json()["id"])
        assert ended["status"] == "failed"
        assert ended["error"] == {
            "code": "inference_failed",
            "message": "the model says no",
            "param": None,
        }
        assert (await later.result(ended)).status_code >= 400

    with_server(services, tmp_path, use)


def test_a_model_that_is_gone_by_then_fails_the_job(services, tmp_path):
    async def use(later: Later):
        body = {**ROUTES["/v1/chat/completions"], "model": "mine"}
        later.hand.failures = [WorkerLost("gone")]

        async def lose(prepared: Any):
            later.shelf.gone.add("mine")

        later.hand.before = lose
        answer = await later.client.post("/v1/chat/completions", json=body, headers=LATER)
        ended = await later.finished(answer.json()["id"])
        assert (ended["status"], ended["error"]["code"]) == ("failed", "model_not_found")

    with_server(services, tmp_path, use)


def test_a_key_makes_one_job_of_a_request_that_is_sent_twice(services, tmp_path):
    async def use(later: Later):
        path, headers = "/v1/images/generations", {**LATER, "Idempotency-Key": "mine"}
        first = await later.client.post(path, json={"prompt": "x"}, headers=headers)
        again = await later.client.post(path, json={"prompt": "x"}, headers=headers)
        other = await later.client.post(path, json={"prompt": "y"}, headers=headers)
        assert first.json()["id"] == again.json()["id"]
        assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")

    with_server(services, tmp_path, use)


def test_a_response_in_the_background_is_openais_own(services, tmp_path):
    async def use(later: Later):
        body = {**ROUTES["/v1/responses"], "background": True}
        for headers in ({}, LATER):
            answer = await later.client.post("/v1/responses", json=body, headers=headers)
            told = answer.json()
            assert (answer.status_code, told["object"]) == (200, "response"), answer.text
            assert told["background"] is True

    with_server(services, tmp_path, use)


def test_links_of_a_result_lead_to_where_the_client_was(services, tmp_path):
    async def use(later: Later):
        body = {**PICTURE, "response_format": "url"}
        headers = {**LATER, "host": "pictures.example:8443"}
        answer = await later.client.post("/v1/images/generations", json=body, headers=headers)
        result = await later.result(await later.finished(answer.json()["id"]))
        assert result.json()["data"][0]["url"].startswith("http://pictures.example:8443/files/")

    with_server(services, tmp_path, use)


def test_nobody_can_send_a_request_as_somebody_else(services, tmp_path):
    async def use(later: Later):
        for name in ("onebox.caller", "onebox-caller", "x-onebox-caller", "onebox.recorder"):
            headers = {name: "key:1", "authorization": "Bearer wrong"}
            answer = await later.client.post("/v1/embeddings", json={"input": "x"}, headers=headers)
            assert answer.status_code == 401

    with_server(services, tmp_path, use)


def test_a_wish_of_an_unknown_client_is_refused(app):
    body = json.dumps(ROUTES["/v1/embeddings"]).encode()
    assert ask(app, "POST", "/v1/embeddings", LATER, body).status == 401


@pytest.mark.parametrize(
    ("preferences", "status"),
    [
        (["wait=10", "respond-async"], 202),
        (['note="a, b", Respond-Async; wait=10'], 202),
        (['respond-async=""'], 202),
        (['note="x, respond-async"'], 200),
        (["respond-asynchronously", "return=minimal"], 200),
    ],
)
def test_a_wish_may_stand_among_others(services, tmp_path, preferences, status):
    async def use(later: Later):
        headers = [("prefer", preference) for preference in preferences]
        answer = await later.client.post("/v1/embeddings", json={"input": "x"}, headers=headers)
        assert answer.status_code == status, answer.text

    with_server(services, tmp_path, use)


def test_a_native_route_knows_no_such_field(services, tmp_path):
    async def use(later: Later):
        body = {"prompt": "x", "background": True}
        answer = await later.client.post("/v1/tasks/text-to-image", json=body)
        assert answer.status_code == 422

    with_server(services, tmp_path, use)
