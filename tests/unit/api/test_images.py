"""`/v1/images/generations`: what may be sent, and what is answered."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from openai.types import ImagesResponse

from onebox.core.errors import InvalidInput, TaskNotSupported
from tests.unit.api.asking import USER, ask
from tests.unit.api.drawing import SIDE, Drawings, draw, picture
from tests.unit.api.reading import PNG
from tests.unit.api.texts import app_with

LORAS = [{"model": "ink", "scale": 0.5}, {"model": "paper"}]


def test_what_is_left_out_is_left_to_the_task(services):
    answer, drawings = draw(services)
    assert answer.status == 200, answer.body
    assert (drawings.task, drawings.model) == ("text-to-image", None)
    assert drawings.input.model_fields_set == {"prompt"}


def test_null_is_the_same_as_left_out(services):
    names = ("n", "size", "quality", "background", "output_format", "seed", "loras", "stream")
    answer, drawings = draw(services, **dict.fromkeys(names))
    assert answer.status == 200, answer.body
    assert drawings.input.model_fields_set == {"prompt"}


def test_every_field_reaches_the_task(services):
    fields = {
        "n": 2,
        "background": "opaque",
        "output_format": "webp",
        "output_compression": 55,
        "negative_prompt": "blue",
        "seed": 0,
        "steps": 12,
        "guidance_scale": 0.0,
        "scheduler": "euler_a",
        "clip_skip": 1,
        "loras": LORAS,
        "textual_inversions": [{"model": "hand", "token": "<hand>"}],
        "deterministic": True,
        "hires": {"scale": 1.5, "strength": 0.4},
    }
    answer, drawings = draw(
        services, **fields, size="512x256", model="m", timeout_s=9, priority="job"
    )
    assert answer.status == 200, answer.body
    given = drawings.input.model_dump(exclude_unset=True)
    assert given == {**fields, "prompt": "a red circle", "width": 512, "height": 256}
    assert (drawings.model, drawings.options.timeout_s) == ("m", 9)
    assert drawings.options.priority == "job"


def test_hints_change_nothing(services):
    hints = {"quality": "hd", "style": "vivid", "moderation": "low", "user": "me"}
    answer, drawings = draw(services, **hints, safety_identifier="a" * 64)
    assert answer.status == 200, answer.body
    assert drawings.input.model_fields_set == {"prompt"}


def test_the_answer_parses_as_the_types_of_the_sdk_say(services):
    answer, _ = draw(services, n=2, quality="high", size="256x256")
    body = ImagesResponse.model_validate_json(answer.body)
    assert body.data is not None
    assert [base64.b64decode(item.b64_json or "") for item in body.data] == [
        PNG + b"\x01",
        PNG + b"\x02",
    ]
    assert [item.model_extra for item in body.data] == [{"seed": 1}, {"seed": 2}]
    assert (body.background, body.output_format) == ("opaque", "png")
    assert (body.quality, body.size) == ("high", f"{SIDE}x{SIDE}")


@pytest.mark.parametrize("quality", [None, "auto", "standard", "hd"])
def test_a_quality_that_the_types_of_an_answer_lack_is_not_told(services, quality):
    answer, _ = draw(services, quality=quality)
    assert ImagesResponse.model_validate_json(answer.body).quality is None


def test_usage_counts_words_and_squares(services):
    answer, _ = draw(services, prompt="a red, round circle", negative_prompt="blue", n=2)
    usage = ImagesResponse.model_validate_json(answer.body).usage
    assert usage is not None
    assert usage.input_tokens_details.text_tokens == 6
    assert usage.output_tokens == 2 * (SIDE // 16) ** 2
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_links_lead_to_the_pictures(services):
    answer, _ = draw(services, n=2, response_format="url")
    for seed, item in enumerate(json.loads(answer.body)["data"], start=1):
        assert item.keys() == {"url", "seed"}
        path = item["url"].removeprefix("http://testserver")
        file = ask(app_with(services, Drawings()), "GET", path)
        assert (file.body, file.headers["content-type"]) == (PNG + bytes([seed]), "image/png")


def test_what_the_task_tells_of_a_picture_is_told_with_it(services):
    drawings = Drawings(artifacts=[picture(7, confidence=0.9)])
    answer, _ = draw(services, drawings, background="transparent")
    body = json.loads(answer.body)
    assert body["background"] == "transparent"
    assert body["data"][0].keys() == {"b64_json", "seed", "confidence"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"size": "255x256"}, "size"),
        ({"size": "4096x256"}, "size"),
        ({"size": "large"}, "size"),
        ({"size": "256x256\n"}, "size"),
        ({"size": "٢\u0665٦x٢\u0665٦"}, "size"),
        ({"quality": "best"}, "quality"),
        ({"background": "blue"}, "background"),
        ({"background": "transparent", "output_format": "jpeg"}, "background"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_format": "svg"}, "output_format"),
        ({"output_format": "bmp"}, "output_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"response_format": "png"}, "response_format"),
        ({"response_format": "url", "stream": True}, "response_format"),
        ({"partial_images": 1}, "partial_images"),
        ({"partial_images": 1, "stream": False}, "partial_images"),
        ({"partial_images": 4, "stream": True}, "partial_images"),
        ({"complexity": "high"}, "complexity"),
        ({"frame_count": 4}, "frame_count"),
        ({"frame_duration_ms": 200}, "frame_duration_ms"),
        ({"svg": {"model": "m"}}, "svg"),
        ({"svg": {}}, "svg"),
        ({"seed": -1}, "seed"),
        ({"steps": 0}, "steps"),
        ({"guidance_scale": 31}, "guidance_scale"),
        ({"scheduler": "x" * 65}, "scheduler"),
        ({"clip_skip": -1}, "clip_skip"),
        ({"loras": "ink"}, "loras"),
        ({"loras": [{"model": "ink", "strength": 1}]}, "loras.0.strength"),
        ({"loras": [{"model": "ink", "scale": 5}]}, "loras.0.scale"),
        ({"loras": [{"model": "ink"}] * 9}, "loras"),
        ({"textual_inversions": [{}]}, "textual_inversions.0.model"),
        ({"strength": 0.5}, "strength"),
        ({"hires": {"scale": 0.5}}, "hires.scale"),
        ({"hires": 2}, "hires"),
        ({"image": "data:,"}, "image"),
        ({"cfg": 7}, "cfg"),
        ({"partial_images": 0.5, "stream": True}, "partial_images"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_by_name(services, fields: dict[str, Any], param: str):
    answer, drawings = draw(services, **fields)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert drawings.input is None


def test_a_prompt_may_be_long_but_not_of_any_length(roomy):
    answer, drawings = draw(roomy, prompt="x" * 10_000)
    assert (answer.status, len(drawings.input.prompt)) == (200, 10_000)
    answer, drawings = draw(roomy, prompt="x" * 10_001)
    assert (answer.status, answer.error["param"]) == (400, "prompt")


def test_no_partial_images_need_no_stream(services):
    answer, drawings = draw(services, partial_images=0)
    assert (answer.status, drawings.input.partial_images) == (200, 0)


@pytest.mark.parametrize(
    ("failure", "status"),
    [(InvalidInput("no such scheduler", param="scheduler"), 400), (TaskNotSupported("no"), 400)],
)
@pytest.mark.parametrize("when", ["refusal", "failure"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_of_the_task_has_its_status(services, failure, status, when, stream):
    answer, _ = draw(services, Drawings(**{when: failure}), stream=stream)
    assert (answer.status, answer.error["param"]) == (status, failure.param)


def test_the_token_is_asked_for_first(services):
    app = app_with(services, Drawings())
    assert ask(app, "POST", "/v1/images/generations", body=b"{").status == 401
    assert ask(app, "POST", "/v1/images/generations", USER, b"{").status == 400
