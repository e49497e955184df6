"""`/v1/videos/generations`: a video as the answer to its request."""

from __future__ import annotations

import base64
import json

import pytest

from onebox.core.errors import DeadlineExceeded, InvalidInput
from onebox.core.results import Artifact
from tests.unit.api.asking import USER, ask
from tests.unit.api.drawing import Drawings
from tests.unit.api.reading import FILE, PNG
from tests.unit.api.sounds import send
from tests.unit.api.texts import app_with, post

PATH = "/v1/videos/generations"
FACTS = {"seed": 7, "width": 320, "height": 192, "frames": 17, "fps": 8, "seconds": 2.125}


def made(variant: str, media_type: str, raw: bytes) -> Artifact:
    return Artifact(media_type, raw, None, {"variant": variant, **FACTS})


def films(*stills: str, **given) -> Drawings:
    pictures = [made(name, "image/webp", name.encode()) for name in stills]
    return Drawings(artifacts=[made("video", "video/mp4", b"film"), *pictures], **given)


def test_a_video_comes_as_base64(services):
    drawings = films()
    answer, _ = post(services, PATH, {"prompt": "x", "seconds": 2, "size": "320x192"}, drawings)
    told = json.loads(answer.body)
    (item,) = told["data"]
    assert base64.b64decode(item["b64_json"]) == b"film"
    assert (item["media_type"], item["size"], item["seconds"]) == ("video/mp4", "320x192", 2.125)
    assert (item["seed"], item["frames"], item["fps"]) == (7, 17, 8)
    assert (told["model"], "thumbnail" in told) == ("shapes", False)
    assert (drawings.task, drawings.input.duration) == ("text-to-video", 2)
    assert drawings.options.priority == "interactive"


def test_a_video_comes_as_a_link(services):
    body = {"prompt": "x", "response_format": "url", "thumbnail": True}
    answer, _ = post(services, PATH, body, films("thumbnail"))
    told = json.loads(answer.body)
    for item, raw in ((told["data"][0], b"film"), (told["thumbnail"], b"thumbnail")):
        path = item["url"].removeprefix("http://testserver")
        file = ask(app_with(services, films()), "GET", path)
        assert (file.status, file.body) == (200, raw)
    assert file.headers["content-type"] == "image/webp"


def test_a_picture_begins_it(services):
    drawings = films()
    answer, _ = send(services, PATH, [("prompt", "x"), ("input_reference", FILE)], drawings)
    assert answer.status == 200
    assert (drawings.task, drawings.input.image.data) == ("image-to-video", PNG)


@pytest.mark.parametrize(
    ("failure", "status", "param"),
    [
        (InvalidInput("too long", param="duration"), 400, "seconds"),
        (DeadlineExceeded("it did not finish within 600 s"), 504, None),
    ],
)
def test_what_goes_wrong_has_its_status(services, failure, status, param):
    answer, _ = post(services, PATH, {"prompt": "x"}, films(failure=failure))
    assert (answer.status, answer.error["param"]) == (status, param)


def test_it_is_no_job(services):
    for further in ({"webhook_url": "https://example.org"}, {"stream": True}):
        answer, _ = post(services, PATH, {"prompt": "x", **further}, films())
        assert (answer.status, answer.error["code"]) == (400, "unknown_parameter")
    assert ask(app_with(services, films()), "GET", PATH, USER).status == 404
