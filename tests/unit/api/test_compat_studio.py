"""The family `studio`: `/api/…` asked and answered."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from onebox.core.errors import ModelNotFound
from onebox.core.results import Artifact
from tests.unit.api.asking import USER
from tests.unit.api.drawing import SIDE, Drawings
from tests.unit.api.familiar import row, send, told
from tests.unit.api.reading import DATA_URL, FILE, PNG
from tests.unit.api.sounds import FILE as SOUND
from tests.unit.api.sounds import WAV, hearing, segment
from tests.unit.api.test_video_generations import films
from tests.unit.api.texts import HI, Texts

DRAWN = PNG + b"\x01"


class Sounds(Drawings):
    """Reads everything aloud in the same way."""

    def __init__(self) -> None:
        super().__init__(artifacts=[Artifact("audio/wav", b"RIFF sound", None, {})])


def vectors(*numbers: float) -> Texts:
    data = [{"object": "embedding", "index": 0, "embedding": list(numbers)}]
    return Texts({"data": data, "usage": {"prompt_tokens": 4, "total_tokens": 4}})


@row("studio", "POST /api/image")
def test_a_picture_from_a_prompt(familiar):
    asked = {
        "prompt": "a red circle",
        "negative_prompt": "blue",
        "model": "shapes",
        "height": 128,
        "width": 256,
        "num_inference_steps": 7,
        "guidance_scale": 3.5,
    }
    answer, drawings = send(familiar, "/api/image", asked, Drawings(), USER)
    body = told(answer)
    assert base64.b64decode(body.pop("image")) == DRAWN
    assert body == {
        "model": "shapes",
        "generation_time": 1.0,
        "size": len(DRAWN),
        "width": SIDE,
        "height": SIDE,
    }
    given = drawings.input
    assert (drawings.task, drawings.model) == ("text-to-image", "shapes")
    assert (given.prompt, given.negative_prompt, given.width, given.height) == (
        *("a red circle", "blue"),
        *(256, 128),
    )
    assert (given.steps, given.guidance_scale, given.n) == (7, 3.5, 1)


def test_what_is_left_out_is_left_to_the_model(familiar):
    answer, drawings = send(familiar, "/api/image", {"prompt": "x"}, Drawings())
    assert answer.status == 200
    assert drawings.model is None
    assert {drawings.input.steps, drawings.input.width, drawings.input.guidance_scale} == {None}


@row("studio", "POST /api/edit-image")
def test_a_picture_is_drawn_anew_where_its_mask_is_white(familiar):
    mask = ("mask", ("m.png", PNG + b"mask", "image/png"))
    parts: list[Any] = [("image", FILE), mask, ("prompt", "a car"), ("model", "shapes")]
    answer, drawings = send(familiar, "/api/edit-image", parts, Drawings())
    assert base64.b64decode(told(answer)["image"]) == DRAWN
    assert (drawings.task, drawings.model) == ("inpainting", "shapes")
    assert (drawings.input.image.data, drawings.input.mask.data) == (PNG, PNG + b"mask")
    assert drawings.input.mask_mode == "luminance"


def test_a_picture_without_a_mask_is_drawn_on_from(familiar):
    asked = {"image": DATA_URL, "prompt": "a car", "strength": 0.5}
    answer, drawings = send(familiar, "/api/edit-image", asked, Drawings())
    assert answer.status == 200, answer.body
    assert (drawings.task, drawings.input.strength) == ("image-to-image", 0.5)
    assert [image.data for image in drawings.input.images] == [PNG]


@row("studio", "POST /api/llm")
def test_a_conversation_goes_on(familiar):
    messages = [{"role": "system", "content": "Be short."}, *HI]
    asked = {"messages": messages, "model": "m", "max_tokens": 5, "temperature": 0, "top_k": 3}
    answer, texts = send(familiar, "/api/llm", asked)
    assert told(answer) == {
        "response": "Hello",
        "model": "smol",
        "tokens_used": 12,
        "stop_reason": "stop",
    }
    assert (texts.task, texts.model) == ("chat", "m")
    assert [(each.role, each.content) for each in texts.input.messages] == [
        ("system", "Be short."),
        ("user", "Hi"),
    ]
    assert (texts.input.max_tokens, texts.input.temperature, texts.input.top_k) == (5, 0, 3)


@row("studio", "POST /api/tts")
def test_a_text_is_read_aloud_as_wav(familiar):
    asked = {"text": "Hello.", "model": "joe", "speaker_id": "anna", "speed": 1.5}
    answer, sounds = send(familiar, "/api/tts", asked, Sounds())
    assert (answer.status, answer.body) == (200, b"RIFF sound")
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["content-disposition"] == 'attachment; filename="speech.wav"'
    given = sounds.input
    assert (sounds.task, sounds.model, given.input) == ("speech", "joe", "Hello.")
    assert (given.voice, given.speed, given.response_format) == ("anna", 1.5, "wav")


@row("studio", "POST /api/stt")
def test_a_recording_is_written_down(familiar):
    parts: list[Any] = [("audio", SOUND), ("model", "tiny"), ("language", "English")]
    answer, texts = send(familiar, "/api/stt", parts, hearing())
    assert told(answer) == {
        "text": "Hi there. Go & see.",
        "language": "en",
        # e to the mean of -0.25.
        "confidence": 0.7788,
        "model": "smol",
    }
    assert (texts.task, texts.model) == ("transcription", "tiny")
    assert (texts.input.file.data, texts.input.language) == (WAV, "en")


def test_nobody_is_sure_of_nothing(familiar):
    silent = [{**segment(0, 0, 1, ""), "tokens": []}]
    answer, _ = send(familiar, "/api/stt", [("audio", SOUND)], hearing(segments=silent))
    assert told(answer)["confidence"] is None


@row("studio", "POST /api/embedding")
def test_a_text_becomes_a_vector(familiar):
    asked = {"text": "Hi", "model": "mini"}
    answer, texts = send(familiar, "/api/embedding", asked, vectors(0.5, 0.25))
    assert told(answer) == {
        "embedding": [0.5, 0.25],
        "dimension": 2,
        "model": "smol",
        "tokens_used": 4,
    }
    assert (texts.task, texts.model, texts.input.inputs) == ("embeddings", "mini", ["Hi"])


@row("studio", "POST /api/video/text-to-video")
def test_a_video_from_a_prompt(familiar):
    asked = {"prompt": "a cat", "model": "wan", "duration": 6, "fps": 8, "num_inference_steps": 9}
    answer, drawings = send(familiar, "/api/video/text-to-video", asked, films())
    assert (answer.status, answer.body) == (200, b"film")
    assert answer.headers["content-type"] == "video/mp4"
    assert (answer.headers["x-video-model"], answer.headers["x-generation-time"]) == (
        "shapes",
        "1.0",
    )
    given = drawings.input
    assert (drawings.task, drawings.model, given.prompt) == ("text-to-video", "wan", "a cat")
    assert (given.duration, given.fps, given.steps) == (6, 8, 9)


@row("studio", "POST /api/video/image-to-video")
def test_a_video_from_a_picture(familiar):
    parts: list[Any] = [("image", FILE), ("prompt", "it waves"), ("fps", "12")]
    answer, drawings = send(familiar, "/api/video/image-to-video", parts, films())
    assert (answer.status, answer.body) == (200, b"film")
    assert (drawings.task, drawings.input.image.data) == ("image-to-video", PNG)
    assert (drawings.input.prompt, drawings.input.fps) == ("it waves", 12)


@pytest.mark.parametrize(
    ("path", "asked", "at_fault"),
    [
        ("/api/image", {}, "prompt"),
        ("/api/image", {"prompt": "x", "width": 100}, "width"),
        ("/api/image", {"prompt": "x", "num_inference_steps": 0}, "num_inference_steps"),
        ("/api/image", {"prompt": "x", "unheard_of": 1}, "unheard_of"),
        ("/api/edit-image", {"prompt": "x"}, "image"),
        ("/api/llm", {"messages": []}, "messages"),
        ("/api/llm", {"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ("/api/tts", {"text": ""}, "text"),
        ("/api/embedding", {"text": ["x"]}, "text"),
        ("/api/stt", [("audio", ("a.wav", b"", "audio/wav"))], "audio"),
        ("/api/video/text-to-video", {"prompt": "x", "fps": 61}, "fps"),
        ("/api/video/image-to-video", {"prompt": "x"}, "image"),
    ],
)
def test_what_cannot_be_used_is_named(familiar, path, asked, at_fault):
    answer, texts = send(familiar, path, asked)
    assert (answer.status, texts.task) == (422, "")
    assert at_fault in answer.body.decode()
    assert b'"error_code": "VALIDATION_ERROR"' in answer.body


def test_a_model_that_is_not_installed_is_refused_with_those_that_are(familiar):
    name = "stabilityai/stable-diffusion-3-medium"
    refusal = ModelNotFound(f"there is no model {name!r}", param="model")
    asked = {"prompt": "x", "model": name}
    answer, drawings = send(familiar, "/api/image", asked, Drawings(refusal=refusal))
    assert (answer.status, drawings.model) == (404, name)
    assert b"no model here can do text-to-image" in answer.body
    assert name.encode() in answer.body
