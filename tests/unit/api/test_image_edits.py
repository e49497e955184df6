"""`/v1/images/edits` and `/v1/images/variations`: what may be sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import ImagesResponse

from onebox.core.errors import InvalidInput
from tests.unit.api.asking import USER, ask
from tests.unit.api.drawing import EDITS, SIDE, VARIATIONS, Drawings, edit, post, told
from tests.unit.api.reading import DATA_URL, FILE, PNG
from tests.unit.api.sounds import Part
from tests.unit.api.texts import app_with

MASK: tuple[str, Part] = ("mask", ("m.png", PNG + b"mask", "image/png"))
LORAS = '[{"model": "ink", "scale": 0.5}]'


def vary(services, *parts: tuple[str, Part], drawings: Drawings | None = None):
    return post(services, VARIATIONS, [("image", FILE), *parts], drawings)


def test_without_a_mask_the_whole_picture_is_changed(services):
    answer, drawings = edit(services)
    assert answer.status == 200, answer.body
    assert (drawings.task, drawings.model) == ("image-to-image", None)
    assert [picture.data for picture in drawings.input.images] == [PNG]
    assert drawings.input.model_fields_set == {"images", "prompt"}


def test_with_a_mask_what_it_says_is_changed(services):
    answer, drawings = edit(services, MASK)
    assert answer.status == 200, answer.body
    assert drawings.task == "inpainting"
    assert (drawings.input.image.data, drawings.input.mask.data) == (PNG, PNG + b"mask")
    assert drawings.input.model_fields_set == {"image", "mask", "prompt"}


def test_the_meaning_of_a_mask_is_that_of_openai_unless_another_is_named(services):
    _, drawings = edit(services, MASK)
    assert (drawings.input.mask_mode, drawings.input.preserve_unmasked) == ("alpha", True)
    parts = [("mask_mode", "luminance"), ("preserve_unmasked", "false"), ("feather", "0")]
    _, drawings = edit(services, MASK, *parts)
    assert (drawings.input.mask_mode, drawings.input.preserve_unmasked) == ("luminance", False)
    assert drawings.input.feather == 0


def test_a_mask_is_that_of_the_first_picture_and_the_others_are_shown(services):
    other = ("b.png", PNG + b"other", "image/png")
    answer, drawings = edit(services, ("image", other), MASK)
    assert answer.status == 200, answer.body
    assert (drawings.task, drawings.input.image.data) == ("inpainting", PNG)
    assert [picture.data for picture in drawings.input.references] == [PNG + b"other"]
    refused = InvalidInput("only one", param="references")
    answer, _ = edit(services, ("image", other), MASK, drawings=Drawings(refusal=refused))
    assert (answer.status, answer.error["param"]) == (400, "image")


def test_the_masked_part_alone_may_be_drawn(services):
    _, drawings = edit(services, MASK)
    assert (drawings.input.inpaint_area, drawings.input.inpaint_padding) == ("whole", None)
    _, drawings = edit(services, MASK, ("inpaint_area", "masked"), ("inpaint_padding", "48"))
    assert (drawings.input.inpaint_area, drawings.input.inpaint_padding) == ("masked", 48)


def test_the_transparency_of_the_picture_itself_is_its_mask_where_that_is_asked_for(services):
    answer, drawings = edit(services, ("mask_mode", "alpha"))
    assert answer.status == 200, answer.body
    assert (drawings.task, drawings.input.image.data) == ("inpainting", PNG)
    assert drawings.input.mask is None


def test_up_to_sixteen_pictures_reach_the_task_in_their_order(services):
    parts = [("image[]", (f"{n}.png", PNG + bytes([n]), "image/png")) for n in range(16)]
    answer, drawings = post(services, EDITS, [("prompt", "x"), *parts])
    assert answer.status == 200, answer.body
    assert [picture.data for picture in drawings.input.images] == [
        PNG + bytes([n]) for n in range(16)
    ]
    usage = ImagesResponse.model_validate_json(answer.body).usage
    assert usage is not None
    assert usage.input_tokens_details.image_tokens == 16 * (SIDE // 16) ** 2


def test_every_field_reaches_the_task(services):
    answer, drawings = edit(
        services,
        ("model", "org/m"),
        ("n", "2"),
        ("size", "512x256"),
        ("strength", "0"),
        ("seed", "0"),
        ("steps", "9"),
        ("guidance_scale", "2.5"),
        ("scheduler", "ddim"),
        ("clip_skip", "2"),
        ("loras", LORAS),
        ("textual_inversions[0][model]", "hand"),
        ("negative_prompt", "red"),
        ("deterministic", "true"),
        ("output_format", "jpeg"),
        ("output_compression", "30"),
        ("background", "auto"),
        ("timeout_s", "9"),
        ("priority", "batch"),
    )
    assert answer.status == 200, answer.body
    assert drawings.input.model_dump(exclude_unset=True, exclude={"images"}) == {
        "prompt": "a blue one",
        "n": 2,
        "width": 512,
        "height": 256,
        "strength": 0.0,
        "seed": 0,
        "steps": 9,
        "guidance_scale": 2.5,
        "scheduler": "ddim",
        "clip_skip": 2,
        "loras": [{"model": "ink", "scale": 0.5}],
        "textual_inversions": [{"model": "hand"}],
        "negative_prompt": "red",
        "deterministic": True,
        "output_format": "jpeg",
        "output_compression": 30,
        "background": "auto",
    }
    assert (drawings.model, drawings.options.timeout_s) == ("org/m", 9)


def test_hints_change_nothing(services):
    hints = [("quality", "hd"), ("input_fidelity", "high"), ("user", "me"), ("stream", "false")]
    answer, drawings = edit(services, *hints)
    assert answer.status == 200, answer.body
    assert drawings.input.model_fields_set == {"images", "prompt"}


def test_a_form_and_json_ask_for_the_same(services):
    _, by_form = edit(services, ("seed", "3"), ("loras", LORAS))
    body = {"prompt": "a blue one", "image": DATA_URL, "seed": 3, "loras": json.loads(LORAS)}
    _, by_json = post(services, EDITS, body)
    assert by_json.input == by_form.input


def test_null_is_the_same_as_left_out(services):
    names = ("mask", "mask_mode", "n", "size", "strength", "markup", "stream")
    body = {"prompt": "x", "image": DATA_URL, **dict.fromkeys(names)}
    answer, drawings = post(services, EDITS, body)
    assert answer.status == 200, answer.body
    assert drawings.input.model_fields_set == {"images", "prompt"}


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([("mask_mode", "luminance")], "mask_mode"),
        ([("feather", "3")], "feather"),
        ([("preserve_unmasked", "true")], "preserve_unmasked"),
        ([("inpaint_area", "masked")], "inpaint_area"),
        ([("inpaint_padding", "32")], "inpaint_padding"),
        ([MASK, ("inpaint_area", "half")], "inpaint_area"),
        ([MASK, ("inpaint_area", "masked"), ("inpaint_padding", "-1")], "inpaint_padding"),
        ([MASK, ("mask_mode", "inverted")], "mask_mode"),
        ([MASK, ("feather", "-1")], "feather"),
        ([MASK, MASK], "mask"),
        ([("mask", ("m.png", b"", "image/png"))], "mask"),
        ([("image", ("a.png", b"", "image/png"))], "image"),
        ([("image", "https://pictures.example/a.png")], "image"),
        ([("image", "not a picture")], "image"),
        ([("image", FILE)] * 16, "image"),
        ([("markup", FILE)], "markup"),
        ([("strength", "1.1")], "strength"),
        ([("strength", "nan")], "strength"),
        ([("size", "100x100")], "size"),
        ([("partial_images", "1")], "partial_images"),
        ([("stream", "true"), ("response_format", "url")], "response_format"),
        ([("background", "transparent"), ("output_format", "jpeg")], "background"),
        ([("output_format", "gif")], "output_format"),
        ([("frame_count", "4")], "frame_count"),
        ([("frame_duration_ms", "40")], "frame_duration_ms"),
        ([("complexity", "low")], "complexity"),
        ([("svg[model]", "m")], "svg"),
        ([("svg[reasoning][effort]", "low")], "svg"),
        ([("style", "vivid")], "style"),
        ([("input_fidelity", "middle")], "input_fidelity"),
        ([("loras", "ink")], "loras.0"),
        ([("prompt", FILE)], "prompt"),
        ([("prompt", "two")], "prompt"),
        ([("photo", FILE)], "photo"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_cannot_be_done_is_refused_by_name(services, parts, param):
    answer, drawings = edit(services, *parts)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert drawings.input is None


@pytest.mark.parametrize(
    ("path", "given", "param"),
    [
        (EDITS, [("image", FILE)], "prompt"),
        (EDITS, [("prompt", "x")], "image"),
        (EDITS, {"prompt": "x", "image": []}, "image"),
        (EDITS, {"prompt": "x", "image": "x", "images": ["x"]}, "images"),
        (EDITS, {"prompt": "x", "image": {"file_id": 7}}, "image.0.file_id"),
        (EDITS, {"prompt": "", "image": DATA_URL}, "prompt"),
        (VARIATIONS, [("n", "2")], "image"),
        (VARIATIONS, [("image", FILE), ("image", FILE)], "image"),
        (VARIATIONS, [("image", FILE), ("mask", FILE)], "mask"),
        (VARIATIONS, [("image", FILE), ("n", "11")], "n"),
        (VARIATIONS, [("image", FILE), ("stream", "true")], "stream"),
        (VARIATIONS, [("image", FILE), ("output_format", "svg")], "output_format"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_missing_or_too_much_is_told(services, path: str, given: Any, param: str):
    answer, _ = post(services, path, given)
    assert (answer.status, answer.error["param"]) == (400, param)


def test_a_variation_needs_nothing_but_a_picture(services):
    answer, drawings = vary(services)
    assert answer.status == 200, answer.body
    assert (drawings.task, drawings.input.image.data) == ("variations", PNG)
    assert drawings.input.model_fields_set == {"image"}


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_about_the_tasks_pictures_names_the_field_of_the_route(services, stream):
    parts = [("stream", str(stream).lower())]
    for when in ("refusal", "failure"):
        drawings = Drawings(**{when: InvalidInput("too many pictures", param="images")})
        answer, _ = edit(services, *parts, drawings=drawings)
        assert (answer.status, answer.error["param"]) == (400, "image")


def test_a_picture_is_not_kept_for_those_who_may_not_ask(services):
    app = app_with(services, Drawings())
    for path in (EDITS, VARIATIONS):
        assert ask(app, "POST", path, body=b"{").status == 401
        assert ask(app, "POST", path, USER, b"{").status == 400
        assert ask(app, "POST", path, USER, b"[" * 3000).status == 400


def test_an_edit_without_partial_images_streams_the_picture_alone(services):
    answer, _ = edit(services, ("stream", "true"))
    assert [name for name, _ in told(answer)] == ["image_edit.completed"]


def test_the_page_shows_forms_and_json(services):
    page = app_with(services, Drawings()).openapi()["paths"]
    for path in (EDITS, VARIATIONS):
        content = page[path]["post"]["requestBody"]["content"]
        assert list(content) == ["multipart/form-data", "application/json"]
        assert "image" in content["multipart/form-data"]["schema"]["required"]
    answers = page[EDITS]["post"]["responses"]["200"]["content"]
    assert set(answers) == {"application/json", "text/event-stream"}
