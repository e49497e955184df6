"""`/v1/videos` by hand."""

from __future__ import annotations

import asyncio
import io

import pytest

from onebox.core.errors import InvalidInput, TaskNotSupported
from tests.unit.api.asking import ADMIN, USER
from tests.unit.api.filming import ID, PROMPT, VIDEOS, video
from tests.unit.api.reading import DATA_URL, FILE, PNG
from tests.unit.api.sounds import form
from tests.unit.api.working import Working, artifact, at_step, completed, send, told


def create(services, body, working=None):
    working = working or Working()
    return send(services, working, "POST", VIDEOS, body), working


def create_by_form(services, parts, working=None):
    working = working or Working()
    headers, body = form(parts)
    return send(services, working, "POST", VIDEOS, body, headers), working


@pytest.mark.parametrize("state", ["queued", "running", "failed"])
def test_only_what_is_done_is_remixed_and_downloaded(services, state):
    working = Working(video(state=state))
    target = f"{VIDEOS}/{ID}"
    for method, path, body in (("POST", "/remix", {"prompt": "x"}), ("GET", "/content", None)):
        answer = send(services, working, method, target + path, body)
        assert (answer.status, answer.error["code"]) == (409, "result_not_ready")
        assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("queued", "queued"),
        ("running", "in_progress"),
        ("completed", "completed"),
        ("failed", "failed"),
        ("cancelled", "failed"),
    ],
)
def test_states_are_those_of_the_sdk(services, state, status):
    error = {"code": "worker_lost", "message": "m", "param": None} if state == "failed" else None
    known = video(state=state, error=error, ended_at=1002.9)
    answer = send(services, Working(known), "GET", f"{VIDEOS}/{known.id}")
    shown = told(answer)
    assert shown["status"] == status
    assert (shown["error"] is not None) == (status == "failed")
    assert (shown["completed_at"] == 1002) == (state == "completed")
    assert ("openai-poll-after-ms" in answer.headers) == (state in ("queued", "running"))


@pytest.mark.parametrize(
    ("step_s", "after"), [(0.01, "250"), (1.0, "3000"), (60.0, "5000")], ids=["soon", "30", "long"]
)
def test_the_next_look_is_a_tenth_of_what_is_left(services, step_s, after):
    known = video(state="running")
    working = Working(known, lives={known.id: at_step(10, 40, step_s=step_s)})
    answer = send(services, working, "GET", f"{VIDEOS}/{known.id}")
    assert answer.headers["openai-poll-after-ms"] == after
    assert told(answer)["progress"] == 25


def test_json_and_forms_say_the_same(services):
    extras = {"negative_prompt": "blur", "seconds": 2, "fps": 8, "thumbnail": False}
    _, as_json = create(services, {"prompt": PROMPT, **extras, "input_reference": DATA_URL})
    texts = [("negative_prompt", "blur"), ("seconds", "2"), ("fps", "8"), ("thumbnail", "false")]
    parts = [("prompt", PROMPT), *texts, ("input_reference", FILE)]
    _, as_form = create_by_form(services, parts)
    for working in (as_json, as_form):
        asked = working.input
        assert (asked.negative_prompt, asked.duration, asked.fps) == ("blur", 2.0, 8)
        assert (asked.thumbnail, asked.spritesheet) == (False, True)
        assert asked.image.data == PNG


@pytest.mark.parametrize(
    "part",
    [
        ("input_reference[image_url]", DATA_URL),
        ("input_reference", f'{{"image_url": "{DATA_URL}"}}'),
        ("input_reference", DATA_URL),
    ],
)
def test_a_form_names_a_picture_as_an_object_too(services, part):
    answer, working = create_by_form(services, [("prompt", PROMPT), part])
    assert answer.status == 200
    assert working.input.image.data == PNG


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "x", "seconds": "soon"}, "seconds"),
        ({"prompt": "x", "seconds": "inf"}, "seconds"),
        ({"prompt": "x", "seconds": 0}, "seconds"),
        ({"prompt": "x", "size": "big"}, "size"),
        ({"prompt": "x", "size": "333x200"}, "size"),
        ({"prompt": "x", "fps": 1000}, "fps"),
        ({"prompt": "x", "num_frames": -1}, "num_frames"),
        ({"prompt": "x", "colour": 1}, "colour"),
        ({"prompt": "x", "motion_bucket_id": 3}, "motion_bucket_id"),
        ({"prompt": "x", "input_reference": "data:text/plain;base64,eA=="}, "input_reference"),
        ({"prompt": "x", "input_reference": "https://example.org/a.png"}, "input_reference"),
        ({"prompt": "x", "input_reference": {"id": "x"}}, "input_reference"),
        ({"prompt": "x", "output_format": "avi"}, "output_format"),
    ],
)
def test_bad_input_is_400_with_its_field(services, body, param):
    answer, working = create(services, body)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert not working.jobs


def test_an_uploaded_file_that_is_not_there_is_404(services):
    body = {"prompt": "x", "input_reference": {"file_id": "file_" + "0" * 26}}
    answer, _ = create(services, body)
    assert (answer.status, answer.error["code"]) == (404, "file_not_found")


@pytest.mark.parametrize(
    ("param", "named"), [("image", "input_reference"), ("duration", "seconds"), ("width", "size")]
)
def test_what_the_task_refuses_is_told_by_the_routes_names(services, param, named):
    working = Working(refusal=InvalidInput("no", param=param))
    assert create(services, {"prompt": "x"}, working)[0].error["param"] == named
    other = Working(refusal=TaskNotSupported("it draws pictures", param="model"))
    answer, _ = create(services, {"prompt": "x"}, other)
    assert (answer.status, answer.error["code"]) == (400, "task_not_supported")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/content"), ("POST", "/remix"), ("DELETE", "")],
)
def test_a_job_of_another_kind_is_no_video(services, method, path):
    known = completed(artifact("a"))
    working = Working(known)
    body = {"prompt": "x"} if method == "POST" else None
    answer = send(services, working, method, f"{VIDEOS}/{known.id}{path}", body, ADMIN)
    assert (answer.status, answer.error["code"]) == (404, "job_not_found")
    assert working.jobs


def test_a_picture_that_was_not_made(services, tmp_path):
    known = video(state="completed", artifacts=(artifact("f", variant="video"),))
    target = f"{VIDEOS}/{known.id}/content?variant="
    answer = send(services, Working(known, folder=tmp_path), "GET", target + "spritesheet")
    assert (answer.status, answer.error["param"]) == (404, "variant")
    assert send(services, Working(known), "GET", target + "poster").status == 400


def test_a_picture_is_one_that_was_uploaded(services):
    owner = services.access.authenticator.authenticate(USER["authorization"]).id
    stored = asyncio.run(
        services.uploads.create(io.BytesIO(PNG), filename="a.png", purpose="vision", caller=owner)
    )
    reference = {"file_id": stored.id}
    _, as_json = create(services, {"prompt": PROMPT, "input_reference": reference})
    parts = [("prompt", PROMPT), ("input_reference[file_id]", stored.id)]
    _, as_form = create_by_form(services, parts)
    for working in (as_json, as_form):
        assert (working.task, working.input.image.data) == ("image-to-video", PNG)


@pytest.mark.parametrize("wanted", [True, False, None])
def test_a_video_is_made_in_the_background_in_any_case(services, wanted):
    body = {"prompt": PROMPT, "background": wanted}
    answer = told(send(services, Working(), "POST", VIDEOS, body, {"prefer": "respond-async"}))
    assert (answer["object"], answer["status"]) == ("video", "queued")
