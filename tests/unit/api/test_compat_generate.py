"""The families `generate` and `photo`: prompts and photos on `/generate`."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest

from onebox.core.errors import OutOfMemory
from tests.unit.api.asking import ADMIN, ask
from tests.unit.api.drawing import SIDE, Drawings, picture
from tests.unit.api.familiar import row, send, told, with_families
from tests.unit.api.reading import FILE, PNG
from tests.unit.api.texts import Texts, app_with, chat_result, choice

PATHS = ("/generate", "/local/generate")
ASKED = {"prompt": "Hi", "temperature": 0, "top_p": 0.5, "max_tokens": 7}
DELTAS = [
    {"index": 0, "reasoning": "Hm"},
    {"index": 0, "content": "Hel"},
    {"index": 0, "content": " lo\n"},
    {"index": 0, "content": ""},
    {"index": 0, "content": "a\r\n\nb"},
    {"index": 0, "finish_reason": "stop"},
]
PHOTO: tuple[str, Any] = ("product_file", FILE)


def as_read(body: bytes) -> list[tuple[str, str]]:
    """Name and data of each event, as the format has it."""
    found = []
    for block in body.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        fields = [line.partition(":") for line in lines]
        values = [(name, value.removeprefix(" ")) for name, _, value in fields]
        name = next((value for key, value in values if key == "event"), "message")
        data = [value for key, value in values if key == "data"]
        if lines:
            found.append((name, "\n".join(data)))
    return found


def stream(services, texts: Texts, target: str = "/generate?stream=true"):
    return ask(app_with(services, texts), "POST", target, ADMIN, b'{"prompt": "Hi"}')


@row("generate", "POST /generate")
def test_a_prompt_is_the_one_message_of_a_chat(familiar):
    answer, texts = send(familiar, "/generate", ASKED)
    assert told(answer) == {"response": "Hello"}
    (message,) = texts.input.messages
    assert (texts.task, texts.model, message.role, message.content) == ("chat", None, "user", "Hi")
    given = texts.input
    assert (given.temperature, given.top_p, given.max_tokens) == (0, 0.5, 7)


@row("generate", "POST /local/generate")
def test_the_local_route_is_the_same(familiar):
    answer, texts = send(familiar, "/local/generate", {**ASKED, "model": "smol"})
    assert told(answer) == {"response": "Hello"}
    assert (texts.task, texts.model, texts.input.max_tokens) == ("chat", "smol", 7)


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_is_the_text_itself(familiar, path):
    answer = stream(familiar, Texts(None, DELTAS), f"{path}?stream=true")
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = as_read(answer.body)
    assert told == [
        ("message", "Hel"),
        ("message", " lo\n"),
        ("message", "a\n\nb"),
        ("done", ""),
    ]
    assert b"data: Hel\n\n" in answer.body
    assert b"[DONE]" not in answer.body


def test_a_client_that_accepts_events_gets_them(familiar):
    headers = {**ADMIN, "accept": "text/event-stream"}
    app = app_with(familiar, Texts(None, DELTAS))
    answer = ask(app, "POST", "/generate", headers, b'{"prompt": "Hi"}')
    assert as_read(answer.body)[-1] == ("done", "")


def test_a_late_error_is_the_last_event_in_the_shape_of_the_family(familiar):
    answer = stream(familiar, Texts(None, DELTAS[:2], OutOfMemory("no room left")))
    (_, text), (name, error) = as_read(answer.body)
    assert (text, name) == ("Hel", "error")
    assert '"code":"INSUFFICIENT_MEMORY"' in error
    assert '"field":null' in error


def test_a_wrong_query_is_refused(familiar):
    answer = stream(familiar, Texts(), "/generate?stream=perhaps")
    assert answer.status == 422
    assert answer.error["field"] == "stream"


def test_what_a_request_leaves_out_is_as_the_settings_have_it(familiar):
    told = {"compat_temperature": 0.25, "compat_max_tokens": 9, "compat_model": "m"}
    settings = familiar.settings.model_copy(update=told)
    services = dataclasses.replace(familiar, settings=settings)
    asked = {"temperature": 0, "max_tokens": 3, "model": "other"}
    for given, expected in (({}, ("m", 0.25, 9)), (asked, ("other", 0, 3))):
        _, texts = send(services, "/generate", {"prompt": "x", **given})
        assert (texts.model, texts.input.temperature, texts.input.max_tokens) == expected
    _, texts = send(familiar, "/generate", {"prompt": "x"})
    assert (texts.model, texts.input.temperature, texts.input.max_tokens) == (None, None, None)


@row("photo", "POST /generate")
def test_a_photo_gets_another_background(familiar):
    drawings = Drawings(artifacts=[picture(5, confidence=0.9)])
    answer, _ = send(familiar, "/generate", [PHOTO, ("model", "shapes")], drawings)
    body = told(answer)
    assert body.pop("request_id") == answer.headers["x-request-id"]
    assert base64.b64decode(body["prediction"].pop("image")) == PNG + b"\x05"
    assert body == {
        "success": True,
        "prediction": {
            "model": "shapes",
            "width": SIDE,
            "height": SIDE,
            "seed": 5,
            "confidence": 0.9,
        },
        "processing_time_ms": 1000.0,
    }
    assert (drawings.task, drawings.model) == ("background", "shapes")
    assert drawings.input.image.data == PNG
    assert "studio background" in drawings.input.prompt
    assert drawings.input.mask is None


@pytest.mark.parametrize("name", ["product_file", "image", "file", "photo"])
def test_a_photo_has_several_names(familiar, name):
    answer, drawings = send(familiar, "/generate", [(name, FILE), ("prompt", "sand")], Drawings())
    assert answer.status == 200, answer.body
    assert (drawings.input.image.data, drawings.input.prompt) == (PNG, "sand")


def test_a_mask_tells_where_the_background_is(familiar):
    mask = ("mask_file", ("m.png", PNG + b"mask", "image/png"))
    answer, drawings = send(familiar, "/generate", [PHOTO, mask], Drawings())
    assert answer.status == 200, answer.body
    assert (drawings.input.mask.data, drawings.input.mask_mode) == (PNG + b"mask", "luminance")
    assert told(answer)["prediction"]["confidence"] is None


def test_a_picture_to_follow_is_refused_and_not_left_out(familiar):
    answer, drawings = send(familiar, "/generate", [PHOTO, ("reference_file", FILE)], Drawings())
    assert (answer.status, drawings.task) == (422, "")
    assert b"reference_file is not supported" in answer.body


def test_photos_are_drawn_by_the_checkpoint_of_the_settings(familiar, tmp_path):
    checkpoint = tmp_path / "sd.safetensors"
    checkpoint.touch()
    changed = familiar.settings.model_copy(update={"compat_model_path": checkpoint})
    services = dataclasses.replace(familiar, settings=changed)
    _, drawings = send(services, "/generate", [PHOTO], Drawings())
    assert drawings.model == "sd.safetensors"


@pytest.mark.parametrize(
    ("family", "given", "status", "begin"),
    [
        ("generate", {"prompt": "x"}, 200, '{"response":'),
        ("generate", [PHOTO], 422, '{"error": {'),
        ("photo", [PHOTO], 200, '{"success":true'),
        ("photo", {"prompt": "x"}, 422, '{"success": false'),
    ],
)
def test_one_family_alone_takes_its_own_bodies_only(services, family, given, status, begin):
    alone = dataclasses.replace(services, **with_families(services, family))
    texts = Texts(chat_result(choice())) if family == "generate" else Drawings()
    answer, _ = send(alone, "/generate", given, texts)
    assert (answer.status, answer.body.decode()[: len(begin)]) == (status, begin)
