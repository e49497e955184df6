"""Task `cutout`: what it refuses, and what it makes of a model's answer."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import ValidationError

from onebox.core.contracts import Device, Entry, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.tasks.cutout import Cutout, CutoutInput
from tests.unit.imaging.files import png

TASK = Cutout()
DEVICE = Device("cpu", "cpu", "CPU", "cpu", "host", 1, 1, "float32", "float32")


def entry(labels: list[str] | None = None) -> Entry:
    return Entry("k", "m", "/m", "", 1, "ready", facts={"labels": labels or [], "pixels": 100})


def raw(mode: str = "RGB", fill: Any = (200, 10, 10)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (20, 10), fill).save(file, "PNG")
    return file.getvalue()


def run(seen: Any, image: bytes | None = None, labels: Any = None, **wishes: Any) -> Any:
    """The output of a request to a model that sees this, and what the model was shown."""
    shown: list[Any] = []

    def see(picture: Any, chosen: Any) -> Any:
        shown.append((picture, list(chosen)))
        return np.asarray(seen, np.float32)

    context: Any = SimpleNamespace(
        entry=entry(labels), read=lambda media: media.data, check=list, step=lambda *step: None
    )
    bundle = SimpleNamespace(segmenter=SimpleNamespace(see=see, stretches=False))
    (output,) = TASK.run(bundle, CutoutInput(image=image or raw(), **wishes), context)
    return output, shown[0]


HALF = [[0.0, 1.0]] * 2


def test_the_cutout_is_the_picture_with_the_models_alpha() -> None:
    output, (shown, chosen) = run(HALF)
    assert (shown.mode, chosen) == ("RGB", [])
    assert output.value.getpixel((0, 5)) == (200, 10, 10, 0)
    assert output.value.getpixel((19, 5)) == (200, 10, 10, 255)
    assert output.options == {"format": "png", "quality": 90}
    assert output.meta == {"width": 20, "height": 10, "confidence": 1.0, "edge_sharpness": 1.0}


def test_soft_edges_may_take_on_the_colours_of_what_is_cut_out() -> None:
    photo = Image.new("RGB", (20, 10), (0, 0, 255))
    photo.paste((200, 10, 10), (12, 0, 20, 10))
    # The model is sure of the last columns, and half sure of two that are still blue.
    seen = [[0.0] * 10 + [0.5] * 2 + [0.97] * 8] * 10
    file = io.BytesIO()
    photo.save(file, "PNG")
    plain = run(seen, file.getvalue())[0].value
    clean = run(seen, file.getvalue(), clean_edges=True)[0].value
    assert plain.getpixel((11, 5))[:3] == (0, 0, 255)
    red, _, blue, alpha = clean.getpixel((11, 5))
    assert red > 190
    assert blue < 20
    assert 100 < alpha < 160
    for x in range(12, 20):
        assert clean.getpixel((x, 5)) == plain.getpixel((x, 5))
    request = CutoutInput(image=raw(), clean_edges=True, output="matte")
    with pytest.raises(InvalidInput) as caught:
        TASK.check(request, entry())
    assert caught.value.param == "clean_edges"


def test_a_model_is_shown_what_is_transparent_on_white() -> None:
    output, (shown, _) = run(HALF, raw("RGBA", (0, 0, 0, 0)))
    assert shown.getpixel((3, 3)) == (255, 255, 255)
    assert output.value.getchannel("A").getextrema() == (0, 0)


def test_labels_reach_the_model_as_numbers() -> None:
    _, (_, chosen) = run(HALF, labels=["background", "hat", "coat"])
    assert chosen == [1, 2]


@pytest.mark.parametrize(
    ("labels", "reason", "param"),
    [
        (None, r"nothing in the picture stands out .* has 0\.40, and 0\.5 is needed", "image"),
        (["background", "hat"], "none of these labels is in the picture", "labels"),
    ],
)
def test_a_picture_without_a_foreground_is_refused(
    labels: list[str] | None, reason: str, param: str
) -> None:
    with pytest.raises(InvalidInput, match=reason) as told:
        run([[0.1, 0.4]], labels=labels)
    assert told.value.param == param


def test_labels_that_the_model_does_not_know_are_refused_before_it_runs() -> None:
    with pytest.raises(InvalidInput, match="does not know 'shoe'"):
        TASK.check(CutoutInput(image=raw(), labels=["shoe"]), entry(["background", "hat"]))


@pytest.mark.parametrize(
    "values", [{"labels": []}, {"output": "alpha"}, {"output_format": "gif"}, {"labels": [""]}]
)
def test_values_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CutoutInput(image=raw(), **values)


def test_memory_is_reserved_for_what_the_model_sees_and_for_the_picture() -> None:
    request = CutoutInput(image=raw())
    assert TASK.reserve_bytes(request, entry(), DEVICE) == 100 * 2400 + 200 * 24
    card = msgspec.structs.replace(DEVICE, pool="cuda:0")
    assert TASK.reserve_bytes(request, entry(), card) == 100 * 2400


@pytest.mark.parametrize(
    ("media", "expected"),
    [(raw(), "1 MP"), (png((1500, 1000), 8, 2), "2 MP"), (png((3000, 1300), 8, 2), "4 MP"),
     (MediaRef(file_id="0" * 32), "64 MP")],
)  # fmt: skip
def test_pictures_of_about_one_size_take_about_the_same(media: Any, expected: str) -> None:
    assert TASK.size_class(CutoutInput(image=media)) == expected


@pytest.mark.parametrize(
    ("size", "output_format", "most"),
    [((16_384, 200), "webp", 16_383), ((700, 66_000), "jpeg", 65_500)],
)
def test_a_picture_too_long_for_the_format_is_refused_before_it_waits(
    size: tuple[int, int], output_format: Any, most: int
) -> None:
    request = CutoutInput(image=MediaRef(data=png(size, 8, 2)), output_format=output_format)
    with pytest.raises(InvalidInput, match=f"a side of {output_format} has {most} pixels") as told:
        TASK.resolve(request, entry(), TaskDefaults(2, 7.5))
    assert told.value.param == "output_format"


def test_what_is_no_picture_is_refused_before_it_waits() -> None:
    with pytest.raises(InvalidInput, match="the picture cannot be read"):
        TASK.resolve(CutoutInput(image=b"<svg/>"), entry(), TaskDefaults(1, 1.0))


def told(**text: str) -> bytes:
    file, chunks = io.BytesIO(), PngInfo()
    for name, value in text.items():
        chunks.add_itxt(name, value)
    Image.new("RGB", (20, 10), (200, 10, 10)).save(file, "PNG", pnginfo=chunks)
    return file.getvalue()


def test_the_text_of_a_png_is_kept_if_that_is_asked_for() -> None:
    image = told(prompt="ein süßer Kater", seed="3")
    assert run(HALF, image)[0].embedded == {}
    kept = run(HALF, image, keep_text=True)[0].embedded
    assert kept == {"prompt": "ein süßer Kater", "seed": "3"}
    assert run(HALF, keep_text=True)[0].embedded == {}


def test_jpeg_holds_too_little_text_to_keep_it() -> None:
    request = CutoutInput(image=raw(), keep_text=True, output_format="jpeg")
    with pytest.raises(InvalidInput, match="png or webp") as caught:
        TASK.check(request, entry())
    assert caught.value.param == "keep_text"
