"""`/v1/jobs`: what is asked, told and refused."""

from __future__ import annotations

import json

import pytest

from onebox.core.errors import ModelNotFound, StorageFull, TaskNotSupported
from onebox.services.jobs.job import IdempotencyConflict
from tests.unit.api.asking import ADMIN, USER, ask
from tests.unit.api.later import Later, with_server
from tests.unit.api.reading import DATA_URL, FILE, PNG
from tests.unit.api.sounds import form
from tests.unit.api.working import (
    JOBS,
    Working,
    artifact,
    at_step,
    completed,
    job,
    send,
    told,
)

DRAW = {"task": "text-to-image", "input": {"prompt": "a red circle", "seed": 0}}
THEIRS = "key:another"


def submit(services, body, working=None, headers=None):
    working = working or Working()
    return send(services, working, "POST", JOBS, body, headers), working


def submit_form(services, parts, working=None):
    headers, body = form(parts)
    return submit(services, body, working, headers)


def test_a_job_is_a_task_and_its_input(services):
    answer, working = submit(services, {**DRAW, "model": "shapes", "timeout_s": 90})
    assert answer.status == 202
    made = told(answer)
    assert answer.headers["location"] == f"/v1/jobs/{made['id']}"
    assert (working.task, working.model) == ("text-to-image", "shapes")
    assert type(working.input).__name__ == "TextToImageInput"
    assert (working.input.prompt, working.input.seed) == ("a red circle", 0)
    assert (working.options.priority, working.options.timeout_s) == ("job", 90)
    assert (made["object"], made["status"], made["progress"]) == ("job", "queued", 0)
    assert made["request"]["prompt"] == "a red circle"
    assert made["links"]["events"] == f"/v1/jobs/{made['id']}/events"


def test_a_picture_comes_as_a_data_url_or_as_a_part(services):
    given = {"prompt": "x", "image": DATA_URL, "mask": DATA_URL}
    _, as_json = submit(services, {"task": "inpainting", "input": given})
    parts = [("task", "inpainting"), ("input", '{"prompt": "x"}'), ("image", FILE), ("mask", FILE)]
    _, as_form = submit_form(services, parts)
    for working in (as_json, as_form):
        assert working.input.prompt == "x"
        assert (working.input.image.data, working.input.mask.data) == (PNG, PNG)


def test_a_form_may_name_all_fields_by_themselves(services):
    parts = [("task", "image-to-image"), ("images[]", FILE), ("images[]", FILE), ("prompt", "x")]
    answer, working = submit_form(services, [*parts, ("strength", "0.4"), ("priority", "batch")])
    assert answer.status == 202
    assert [image.data for image in working.input.images] == [PNG, PNG]
    assert (working.input.strength, working.options.priority) == (0.4, "batch")


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({**DRAW, "task": "text-to-soup"}, "task", "invalid_value"),
        ({"input": {"prompt": "x"}}, "task", "missing_required_parameter"),
        ({"task": "text-to-image"}, "prompt", "missing_required_parameter"),
        ({**DRAW, "input": {"prompt": "x", "width": 3000}}, "width", "invalid_value"),
        ({**DRAW, "input": {"prompt": "x", "colour": 1}}, "colour", "unknown_parameter"),
        ({**DRAW, "input": "a red circle"}, "input", "invalid_value"),
        ({**DRAW, "colour": 1}, "colour", "unknown_parameter"),
        ({**DRAW, "timeout_s": -1}, "timeout_s", "invalid_value"),
        ({**DRAW, "priority": "urgent"}, "priority", "invalid_value"),
        ({**DRAW, "webhook_url": "x" * 3000}, "webhook_url", "invalid_value"),
        (b"{", None, "invalid_json"),
    ],
)
def test_bad_input_is_refused_before_it_is_a_job(services, body, param, code):
    answer, working = submit(services, body)
    assert (answer.status, answer.error["param"], answer.error["code"]) == (422, param, code)
    assert not working.jobs


def test_a_form_is_refused_for_the_same_reasons(services):
    parts = [("task", "text-to-image"), ("prompt", "x")]
    for further, param in ((("width", "3000"), "width"), (("colour", "1"), "colour")):
        answer, working = submit_form(services, [*parts, further])
        assert (answer.status, answer.error["param"]) == (422, param)
        assert not working.jobs
    answer, _ = submit_form(services, [("prompt", "x")])
    assert answer.error["param"] == "task"


def test_a_file_of_the_server_is_nobodys_input(services):
    stored = {"prompt": "x", "images": [{"file_id": "0" * 32}]}
    answer, working = submit(services, {"task": "image-to-image", "input": stored})
    assert (answer.status, answer.error["param"]) == (422, "images")
    assert not working.jobs


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (ModelNotFound("no model nope", param="model"), 404),
        (TaskNotSupported("it writes", param="model"), 400),
        (StorageFull("delete some"), 507),
        (IdempotencyConflict("sent before with another body"), 409),
    ],
)
def test_what_the_submission_refuses_is_answered_as_any_route_does(services, refusal, status):
    answer, _ = submit(services, DRAW, Working(refusal=refusal))
    assert (answer.status, answer.error["code"]) == (status, refusal.code)


def test_a_key_stands_for_the_whole_request_however_it_is_written(services):
    key = {"idempotency-key": "order-66"}
    other = {**DRAW, "input": {**DRAW["input"], "seed": 1}}
    spaced = json.dumps(DRAW, indent=4).encode()
    prints = []
    for body in (DRAW, spaced, other):
        _, working = submit(services, body, headers=key)
        assert working.submission.idempotency_key == "order-66"
        prints.append(working.submission.fingerprint)
    assert prints[0] == prints[1] != prints[2]
    assert submit(services, DRAW)[1].submission.fingerprint is None


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "\x01", "\xe9"])
def test_a_key_that_is_none_is_refused(services, key):
    answer, _ = submit(services, DRAW, headers={"idempotency-key": key})
    assert (answer.status, answer.error["param"]) == (422, "Idempotency-Key")


def test_a_running_job_tells_how_far_it_is(services):
    known = job(state="running", attempt=1, started_at=1001.0)
    lives = {known.id: at_step(30, 40, preview=b"dim")}
    shown = told(send(services, Working(known, lives=lives), "GET", f"{JOBS}/{known.id}"))
    assert (shown["status"], shown["progress"], shown["phase"]) == ("running", 75, "running")
    assert (shown["step"], shown["steps"], shown["eta_s"]) == (30, 40, 20.0)
    url = f"/v1/jobs/{known.id}/preview"
    assert shown["preview"] == {"media_type": "image/jpeg", "url": url, "number": 1}
    assert (shown["result"], shown["attempt"]) == (None, 1)
    assert shown["links"]["cancel"] == f"/v1/jobs/{known.id}/cancel"


def test_a_job_is_only_done_when_its_result_is_stored(services):
    known = job(state="running")
    lives = {known.id: at_step(40, 40)}
    shown = told(send(services, Working(known, lives=lives), "GET", f"{JOBS}/{known.id}"))
    assert shown["progress"] == 99


def test_a_completed_job_tells_what_it_made(services):
    known = completed(artifact("a", seed=7), artifact("b", "image/webp", 9, seed=8))
    shown = told(send(services, Working(known), "GET", f"{JOBS}/{known.id}"))
    assert (shown["progress"], shown["completed_at"], shown["expires_at"]) == (100, 1005.5, 2000.0)
    assert shown["result"]["artifacts"][1] == {
        "index": 1,
        "media_type": "image/webp",
        "size_bytes": 9,
        "sha256": "cd" * 32,
        "url": f"/v1/jobs/{known.id}/result/1",
        "seed": 8,
    }
    assert "cancel" not in shown["links"]


def test_a_failed_job_tells_why(services):
    why = {"code": "worker_lost", "message": "lost 3 times", "param": None}
    known = job(state="failed", ended_at=1003.0, error=why)
    shown = told(send(services, Working(known), "GET", f"{JOBS}/{known.id}"))
    assert (shown["status"], shown["error"], shown["progress"]) == ("failed", why, 0)


def test_lists_are_asked_for_by_state_task_model_and_surface(services):
    known = job(), job()
    working = Working(*known)
    target = f"{JOBS}?status=queued&task=t&model=m&order=asc&limit=2&after={known[0].id}"
    page = told(send(services, working, "GET", target))
    assert [item["id"] for item in page["data"]] == [item.id for item in known]
    assert (page["object"], page["has_more"]) == ("list", True)
    assert (page["first_id"], page["last_id"]) == (known[0].id, known[1].id)
    assert working.asked == {
        "surface": "job",
        "state": "queued",
        "task": "t",
        "model": "m",
        "group": None,
        "after": known[0].id,
        "before": None,
        "limit": 2,
        "order": "asc",
    }
    send(services, working, "GET", f"{JOBS}?surface=any")
    assert working.asked["surface"] is None


@pytest.mark.parametrize("query", ["status=done", "limit=0", "limit=101", "order=up", "surface=x"])
def test_a_list_cannot_be_asked_for_otherwise(services, query):
    assert send(services, Working(), "GET", f"{JOBS}?{query}").status == 422


def test_a_cancel_answers_the_job_as_it_is_then(services):
    waits, ended = job(), completed(artifact("a"))
    working = Working(waits, ended)
    for known, status in ((waits, "cancelled"), (ended, "completed")):
        shown = told(send(services, working, "POST", f"{JOBS}/{known.id}/cancel"))
        assert (shown["id"], shown["status"]) == (known.id, status)


def test_a_deleted_job_is_gone(services):
    known = job()
    working = Working(known)
    target = f"{JOBS}/{known.id}"
    answer = told(send(services, working, "DELETE", target))
    assert answer == {"id": known.id, "object": "job.deleted", "deleted": True}
    assert send(services, working, "GET", target).error["code"] == "job_not_found"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", path) for path in ("", "/events", "/result", "/result/0", "/preview")),
        ("POST", "/cancel"),
        ("DELETE", ""),
    ],
)
def test_those_of_others_are_as_good_as_unknown(services, method, path):
    theirs = completed(artifact("a"), caller=THEIRS)
    working = Working(theirs)
    answer = send(services, working, method, f"{JOBS}/{theirs.id}{path}")
    assert (answer.status, answer.error["code"]) == (404, "job_not_found")
    assert working.jobs == {theirs.id: theirs}


def test_an_admin_sees_those_of_others(services):
    theirs = job(caller=THEIRS)
    answer = send(services, Working(theirs), "GET", f"{JOBS}/{theirs.id}", headers=ADMIN)
    assert told(answer)["id"] == theirs.id


def test_jobs_are_on_the_page_of_the_api(app):
    page = json.loads(ask(app, "GET", "/openapi.json", USER).body)
    body = page["paths"][JOBS]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data"}
    assert {"/v1/jobs/{job_id}/result", "/v1/jobs/{job_id}/events"} <= set(page["paths"])


@pytest.mark.parametrize(("asked", "shown"), [({}, 3), ({"partial_images": 0}, 0)])
def test_a_picture_shows_itself_while_it_is_made(services, tmp_path, asked, shown):
    async def use(later: Later):
        body = {"task": "text-to-image", "model": "m", "input": {"prompt": "x", **asked}}
        made = await later.client.post(JOBS, json=body)
        await later.finished(made.json()["id"])
        (prepared,) = later.hand.seen
        assert prepared.input.partial_images == shown

    with_server(services, tmp_path, use)
