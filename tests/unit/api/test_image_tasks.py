"""`/v1/images/backgrounds`, `/v1/images/cutouts` and `/v1/images/try-on`: asked and answered."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from onebox.core.errors import TaskNotSupported
from onebox.core.results import Artifact
from tests.unit.api.asking import Answer
from tests.unit.api.drawing import SIDE, Drawings, picture, post, preview, told
from tests.unit.api.reading import DATA_URL, FILE, PNG
from tests.unit.api.sounds import Part

BACKGROUNDS, CUTOUTS, TRY_ON = (
    f"/v1/images/{path}" for path in ("backgrounds", "cutouts", "try-on")
)
PERSON: tuple[str, Part] = ("person", ("p.png", PNG + b"person", "image/png"))
GARMENT: tuple[str, Part] = ("garment", ("g.png", PNG + b"garment", "image/png"))


def body_of(answer: Answer) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(answer.body)
    return body


def product(services, *parts: tuple[str, Part], drawings: Drawings | None = None):
    return post(
        services, BACKGROUNDS, [("image", FILE), ("prompt", "on a table"), *parts], drawings
    )


def test_a_form_with_a_product_reaches_its_task(services):
    answer, drawings = product(
        services,
        ("aspect_ratio", "16:9"),
        ("padding", "0.1"),
        ("position", "bottom"),
        ("scale", "0.5"),
        ("shadow", "0.4"),
        ("n", "2"),
        ("model", "shapes"),
    )
    assert answer.status == 200, answer.body
    assert (drawings.task, drawings.model) == ("background", "shapes")
    assert drawings.input.image.data == PNG
    assert (drawings.input.aspect_ratio, drawings.input.position) == ("16:9", "bottom")
    assert (drawings.input.padding, drawings.input.scale, drawings.input.shadow) == (0.1, 0.5, 0.4)
    assert [item["seed"] for item in body_of(answer)["data"]] == [1, 2]


def test_json_with_a_data_url_reaches_its_task(services):
    asked = {"image": DATA_URL, "mask": DATA_URL, "prompt": "on a table", "cut": "model"}
    answer, drawings = post(services, BACKGROUNDS, asked)
    assert answer.status == 200, answer.body
    assert drawings.input.image.data == PNG
    assert drawings.input.mask.data == PNG
    assert drawings.input.cut == "model"


def test_both_pictures_of_a_try_on_reach_its_task(services):
    answer, drawings = post(services, TRY_ON, [PERSON, GARMENT, ("category", "dress")])
    assert answer.status == 200, answer.body
    assert drawings.task == "try-on"
    assert drawings.input.person.data == PNG + b"person"
    assert drawings.input.garment.data == PNG + b"garment"
    assert drawings.input.category == "dress"
    assert drawings.input.prompt == ""


@pytest.mark.parametrize("output", ["cutout", "matte"])
def test_a_cut_out_is_answered_with_its_confidence(services, output: str):
    facts = {"width": SIDE, "height": SIDE, "confidence": 0.97, "edge_sharpness": 0.6}
    drawings = Drawings(artifacts=[Artifact("image/png", PNG, None, facts)])
    parts: list[tuple[str, Part]] = [("image", FILE), ("output", output), ("labels", "cat")]
    answer, drawings = post(services, CUTOUTS, parts, drawings)
    assert answer.status == 200, answer.body
    assert drawings.input.labels == ["cat"]
    (item,) = body_of(answer)["data"]
    assert base64.b64decode(item.pop("b64_json")) == PNG
    assert item == {"confidence": 0.97, "edge_sharpness": 0.6}
    assert body_of(answer)["background"] == ("transparent" if output == "cutout" else "opaque")
    assert body_of(answer)["size"] == "256x256"


def test_the_matte_of_a_product_stands_beside_the_pictures(services):
    matte = Artifact("image/png", PNG + b"matte", None, {"role": "mask", "width": 1, "height": 1})
    drawings = Drawings(artifacts=[picture(1, confidence=0.9), matte])
    answer, _ = product(services, ("return_mask", "true"), drawings=drawings)
    assert answer.status == 200, answer.body
    assert [item["confidence"] for item in body_of(answer)["data"]] == [0.9]
    assert base64.b64decode(body_of(answer)["mask"]["b64_json"]) == PNG + b"matte"
    squares = (SIDE // 16) ** 2
    assert body_of(answer)["usage"]["output_tokens"] == squares
    plain, _ = product(services)
    assert "mask" not in body_of(plain)


def test_a_size_is_width_and_height(services):
    _, drawings = product(services, ("size", "1000x500"))
    assert (drawings.input.width, drawings.input.height) == (1000, 500)
    _, drawings = product(services, ("size", "auto"))
    assert drawings.input.width is None


def test_a_streamed_background_shows_its_making(services):
    drawings = Drawings([preview(0, b"early")])
    parts = [("stream", "true"), ("partial_images", "1")]
    answer, drawings = product(services, *parts, drawings=drawings)
    assert drawings.input.partial_images == 1
    names = [name for name, _ in told(answer)]
    assert names == ["image_edit.partial_image", "image_edit.completed"]


def test_a_link_is_given_where_one_is_asked_for(services):
    answer, _ = product(services, ("response_format", "url"))
    assert "/files/" in body_of(answer)["data"][0]["url"]


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([("partial_images", "1")], "partial_images"),
        ([("stream", "true"), ("response_format", "url")], "response_format"),
        ([("stream", "true"), ("return_mask", "true")], "return_mask"),
        ([("size", "large")], "size"),
        ([("size", "512x512"), ("width", "512")], "size"),
        ([("size", "9999x512")], "width"),
        ([("padding", "0.6")], "padding"),
        ([("position", "above")], "position"),
        ([("scale", "0")], "scale"),
        ([("shadow", "nan")], "shadow"),
        ([("strength", "nan")], "strength"),
        ([("colour", "red")], "colour"),
        ([("mask", ("m.png", b"", "image/png"))], "mask"),
    ],
)
def test_what_is_wrong_is_named(services, parts: Any, param: str):
    answer, _ = product(services, *parts)
    assert answer.status == 422, answer.body
    assert answer.error["param"] == param


def test_a_picture_that_is_missing_is_named(services):
    answer, _ = post(services, TRY_ON, [PERSON])
    assert (answer.status, answer.error["param"]) == (422, "garment")


def test_a_link_to_a_picture_is_refused_where_links_are_not_allowed(services):
    asked = {"person": "https://example.com/p.png", "garment": DATA_URL}
    answer, _ = post(services, TRY_ON, asked)
    assert answer.status == 422
    assert answer.error["param"] == "person"


def test_what_a_model_cannot_do_says_what_would_do_it(services):
    refusal = TaskNotSupported("try-on needs FLUX Kontext", param="model")
    answer, _ = post(services, TRY_ON, [PERSON, GARMENT], Drawings(refusal=refusal))
    assert (answer.status, answer.error["code"]) == (400, "task_not_supported")
    assert "Kontext" in answer.error["message"]
