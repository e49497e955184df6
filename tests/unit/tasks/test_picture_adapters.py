"""LoRAs and textual inversions of a request: what is looked for, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from onebox.core.contracts import Entry, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.tasks.text_to_image import TextToImage, TextToImageInput
from tests.unit.runtime.clients import entry

TASK = TextToImage()
MODEL = entry("sd", facts={"base": "sd1", "native_size": 64})


def resolved(model: Entry = MODEL, **request: Any) -> TextToImageInput:
    asked = TextToImageInput(**{"prompt": "a cat", **request})
    return TASK.resolve(asked, model, TaskDefaults(20, 7.5))


def companion(family: str, **facts: Any) -> Entry:
    return entry("style", family=family, facts=facts)


def test_what_a_request_names_is_looked_for_once():
    request = resolved(
        loras=[{"model": "a"}, {"model": "b", "scale": 0.5}, {"model": "a", "scale": -1}],
        textual_inversions=[{"model": "c"}],
    )
    found = {one.name: one for one in TASK.companions(request, MODEL)}
    assert found.keys() == {"a", "b", "c"}
    assert [found[name].families for name in "ac"] == [
        frozenset({"lora"}),
        frozenset({"textual_inversion"}),
    ]
    assert (found["a"].param, found["c"].param) == ("loras", "textual_inversions")
    assert [one.scale for one in TASK.recipe(request, MODEL).loras] == [1.0, 0.5, -1]


def test_a_checkpoints_own_loras_are_those_of_requests_that_name_none():
    own = entry("sd", facts=MODEL.facts, overrides={"loras": ["a", {"path": "b", "scale": 0.5}]})
    request = resolved(own)
    assert [(one.model, one.scale) for one in request.loras or ()] == [("a", 1.0), ("b", 0.5)]
    assert resolved(own, loras=[]).loras == []
    assert [one.model for one in resolved(own, loras=[{"model": "c"}]).loras or ()] == ["c"]


@pytest.mark.parametrize(
    ("family", "request_field", "param"),
    [
        ("lora", "loras", "loras"),
        ("textual_inversion", "textual_inversions", "textual_inversions"),
    ],
)
def test_one_for_another_base_is_refused_with_both_names(family, request_field, param):
    request = resolved(prompt="style", **{request_field: [{"model": "style"}]})
    (wanted,) = TASK.companions(request, MODEL)
    message = "name-of-style is for sdxl, but name-of-sd is sd1"
    with pytest.raises(InvalidInput, match=message) as info:
        TASK.fits(request, MODEL, wanted.slot, companion(family, base="sdxl", word="style"))
    assert info.value.param == param
    TASK.fits(request, MODEL, wanted.slot, companion(family, base="sd1", word="style"))


def test_a_file_that_does_not_tell_its_base_is_left_to_the_loaded_model():
    request = resolved(loras=[{"model": "style"}])
    TASK.fits(request, MODEL, "lora:style", companion("lora"))


def test_an_inversion_whose_word_no_prompt_has_is_refused():
    inversion = companion("textual_inversion", word="<cat>", base="sd1")
    slot = "textual_inversion:style"
    request = resolved(textual_inversions=[{"model": "style"}])
    with pytest.raises(InvalidInput, match="'<cat>'") as info:
        TASK.fits(request, MODEL, slot, inversion)
    assert info.value.details == {"token": "<cat>"}
    for fitting in (
        {"prompt": "a <cat>"},
        {"negative_prompt": "<CAT>, bad"},
        {"textual_inversions": [{"model": "style", "token": "cat"}]},
    ):
        named = {"textual_inversions": [{"model": "style"}], **fitting}
        TASK.fits(resolved(**named), MODEL, slot, inversion)


@pytest.mark.parametrize("scale", [5, -5, float("nan"), float("inf"), "strong"])
def test_a_strength_has_bounds(scale):
    with pytest.raises(ValidationError):
        resolved(loras=[{"model": "a", "scale": scale}])


def test_no_more_than_eight_at_once():
    with pytest.raises(ValidationError):
        resolved(loras=[{"model": str(i)} for i in range(9)])
