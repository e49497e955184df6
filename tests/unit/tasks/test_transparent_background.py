"""Drawn pictures that another model cuts out: which model, what it is asked, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from onebox.core.contracts import Entry, TaskDefaults
from onebox.core.errors import InvalidInput, TaskNotSupported
from onebox.core.plugins import TASKS
from onebox.core.results import Artifact
from onebox.services.catalogue import Catalogue
from onebox.services.companions import Companions
from onebox.tasks.cutout import CutoutInput
from onebox.tasks.text_to_image import TextToImage, TextToImageInput
from tests.unit.runtime.clients import entry, run

TASK = TextToImage()
MODEL = entry("sd", facts={"base": "sd1", "native_size": 64})
DRAWN = Artifact("image/png", b"drawn", None, {"seed": 3})


def resolved(**request: Any) -> TextToImageInput:
    asked = TextToImageInput(**{"prompt": "a cup", "background": "transparent", **request})
    return TASK.resolve(asked, MODEL, TaskDefaults(20, 7.5))


def segmenter(*labels: str) -> Entry:
    return entry("s", family="segmentation", tasks=("cutout",), facts={"labels": list(labels)})


@pytest.mark.parametrize(
    ("kept", "quality"), [("png", 90), ("webp", 50)], ids=lambda value: str(value)
)
def test_what_was_drawn_is_cut_out_in_the_format_that_was_asked_for(kept: str, quality: int):
    request = resolved(output_format=kept, output_compression=quality)
    stage = TASK.after(request, DRAWN)
    assert stage is not None
    assert stage.task in TASKS
    assert isinstance(stage.input, CutoutInput)
    assert stage.input.image.data == b"drawn"
    assert (stage.input.output, stage.input.output_format) == ("cutout", kept)
    assert stage.input.output_compression == quality
    # What was drawn behind it is not to shine around it.
    assert stage.input.clean_edges
    # The prompt and the seed that the file tells are told by the cut-out too.
    assert stage.input.keep_text


def test_the_model_is_found_before_anything_is_drawn_and_does_the_part():
    request = resolved()
    (cutter,) = TASK.companions(request, MODEL)
    stage = TASK.after(request, DRAWN)
    assert stage is not None
    assert stage.companion == cutter.slot
    assert cutter.required
    assert cutter.param == "background"
    assert "onebox pull starter" in cutter.needs


def test_one_that_takes_anything_comes_before_one_that_knows_things_by_name():
    (cutter,) = TASK.companions(resolved(), MODEL)
    assert cutter.task == "cutout"
    assert cutter.prefers is not None
    assert cutter.prefers(segmenter())
    assert not cutter.prefers(segmenter("Upper-clothes"))


@pytest.mark.parametrize("background", ["auto", "opaque"])
def test_other_backgrounds_need_no_model(background: str):
    request = resolved(background=background)
    assert not TASK.companions(request, MODEL)
    assert TASK.after(request, DRAWN) is None


def test_jpeg_is_refused():
    with pytest.raises(InvalidInput, match="png or webp") as caught:
        TASK.check(resolved(output_format="jpeg"), MODEL)
    assert caught.value.param == "output_format"


def test_what_cannot_be_cut_out_is_told_of_the_background():
    stage = TASK.after(resolved(), DRAWN)
    assert stage is not None
    assert stage.params["image"] == "background"


class Shelf:
    """A catalogue of these, with a default for every task if one is named."""

    def __init__(self, *entries: Entry, default: Entry | None = None) -> None:
        self._entries, self._default = list(entries), default

    def entries(self) -> list[Entry]:
        return self._entries

    def default_for(self, task: str) -> Entry:
        if self._default is None:
            raise InvalidInput("name a model")
        return self._default

    async def as_it_is(self, entry: Entry, timeout_s: float | None) -> Entry:
        return entry


def cutter_of(shelf: Shelf) -> str:
    catalogue = Catalogue(shelf, lambda key: False, shelf.as_it_is)  # type: ignore[arg-type]  # a fake
    found = run(Companions(catalogue).of(TASK, resolved(), MODEL))
    return found["cutout"].name


def test_without_a_segmentation_model_nothing_is_drawn():
    with pytest.raises(TaskNotSupported, match="onebox pull starter") as caught:
        cutter_of(Shelf(MODEL))
    assert caught.value.param == "background"


def test_of_several_segmentation_models_the_default_is_taken_or_one_that_takes_anything():
    clothes, salient = (
        entry(name, family="segmentation", tasks=("cutout",), facts={"labels": labels})
        for name, labels in (("clothes", ["Dress"]), ("salient", []))
    )
    assert cutter_of(Shelf(clothes, MODEL, salient)) == salient.name
    assert cutter_of(Shelf(clothes, salient, default=clothes)) == clothes.name
    assert cutter_of(Shelf(clothes)) == clothes.name
