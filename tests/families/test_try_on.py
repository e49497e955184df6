"""Persons in garments, on tiny pipelines: that the right pictures, masks and words reach the model.

What comes out of random weights shows nothing; what goes in is looked at instead.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image, ImageDraw

from onebox.core.contracts import Entry, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.core.results import Artifact, Output
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.tasks.cutout import CutoutInput
from onebox.tasks.try_on import DESCRIPTION, INSTRUCTION, TryOn, TryOnInput
from tests.families import tiny_image_prompts as tiny
from tests.families import tiny_transformers
from tests.families.pictures import FAMILY, Context, device, entry

TASK = TryOn()
SIZE = (64, 96)
PERSON, GARMENT = tiny.picture(1, SIZE), tiny.picture(2, (72, 96))
CLOTHES_BOX = (16, 32, 48, 72)


def file(picture: Image.Image) -> MediaRef:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return MediaRef(media_type="image/png", data=buffer.getvalue())


def clothes() -> Image.Image:
    """White where the clothing is."""
    picture = Image.new("L", SIZE)
    ImageDraw.Draw(picture).rectangle(CLOTHES_BOX, fill=255)
    return picture


class Dressing(Context):
    def __init__(self, folder: Path, companions: Mapping[str, Entry] | None = None) -> None:
        super().__init__(folder)
        self.companions = companions or {}

    def read(self, media: MediaRef) -> bytes:
        assert media.data is not None
        return media.data


@pytest.fixture(scope="module")
def kontext(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_transformers.kontext(tmp_path_factory.mktemp("kontext") / "tiny")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Entry]:
    folder = tmp_path_factory.mktemp("adapters")
    adapter = tiny.ip_adapter(folder / "adapter.safetensors")
    return tiny.companions(adapter, tiny.image_encoder(folder / "encoder"))


def known(folder: Path) -> Entry:
    found = entry(folder)
    class_name = msgspec.json.decode((folder / "model_index.json").read_bytes())["_class_name"]
    return msgspec.structs.replace(found, kind=class_name)


def resolved(folder: Path, **request: Any) -> TryOnInput:
    asked = {"person": file(PERSON), "garment": file(GARMENT), "steps": 2, "seed": 1, **request}
    return TASK.resolve(TryOnInput(**asked), known(folder), TaskDefaults(2, 3.0))


def run(
    loaded: PipelineBundle,
    folder: Path,
    companions: Mapping[str, Entry] | None = None,
    **request: Any,
) -> list[Output]:
    asked, context = resolved(folder, **request), Dressing(folder, companions)
    context.entry = known(folder)
    TASK.check(asked, context.entry)
    return TASK.run(loaded, asked, context)


def calls_of(pipeline_class: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the library's pipeline is called with, from now on."""
    calls: list[dict[str, Any]] = []
    original = pipeline_class.__call__

    @functools.wraps(original)
    def recorded(self: Any, **arguments: Any) -> Any:
        calls.append(arguments)
        return original(self, **arguments)

    monkeypatch.setattr(pipeline_class, "__call__", recorded)
    return calls


def test_an_instructed_model_sees_both_pictures_and_is_told_what_to_do(
    kontext: Path, monkeypatch: pytest.MonkeyPatch
):
    from diffusers import FluxKontextPipeline

    loaded = FAMILY.load(known(kontext), device())
    assert isinstance(loaded, PipelineBundle)
    calls = calls_of(FluxKontextPipeline, monkeypatch)
    (output,) = run(loaded, kontext)
    (call,) = calls
    (seen,) = call["image"]
    # Side by side at one height, the person on the left.
    assert np.array_equal(np.asarray(seen.crop((0, 0, *SIZE))), np.asarray(PERSON))
    assert np.array_equal(np.asarray(seen.crop((64, 0, 136, 96))), np.asarray(GARMENT))
    assert call["prompt"] == [INSTRUCTION]
    assert (call["width"], call["height"]) == output.value.size == SIZE
    calls.clear()
    run(loaded, kontext, prompt="only the sleeves")
    assert calls[0]["prompt"] == ["only the sleeves"]


def test_an_instructed_model_with_a_mask_draws_inside_it_alone(
    kontext: Path, monkeypatch: pytest.MonkeyPatch
):
    from diffusers import FluxKontextInpaintPipeline

    loaded = FAMILY.load(known(kontext), device())
    assert isinstance(loaded, PipelineBundle)
    calls = calls_of(FluxKontextInpaintPipeline, monkeypatch)
    (output,) = run(loaded, kontext, mask=file(clothes()), mask_mode="luminance")
    (call,) = calls
    assert call["image_reference"][0].size == (136, 96)
    assert np.array_equal(np.asarray(call["image"][0]), np.asarray(PERSON))
    outside = np.asarray(clothes()) == 0
    assert np.array_equal(np.asarray(output.value)[outside], np.asarray(PERSON)[outside])


def test_stable_diffusion_draws_the_clothing_with_the_garment_as_an_image_prompt(
    bundle: PipelineBundle,
    tiny_sd: Path,
    shelf: Mapping[str, Entry],
    monkeypatch: pytest.MonkeyPatch,
):
    from diffusers import StableDiffusionInpaintPipeline

    calls = calls_of(StableDiffusionInpaintPipeline, monkeypatch)
    request = {"mask": file(clothes()), "mask_mode": "luminance"}
    (output,) = run(bundle, tiny_sd, shelf, **request)
    (call,) = calls
    assert call["ip_adapter_image_embeds"][0].shape == (2, 1, tiny.PROJECTION)
    assert call["strength"] == 1.0
    assert np.array_equal(np.asarray(call["image"][0]), np.asarray(PERSON))
    drawn = np.asarray(call["mask_image"][0])
    assert (drawn[np.asarray(clothes()) == 255] == 255).all()
    outside = np.asarray(clothes()) == 0
    assert np.array_equal(np.asarray(output.value)[outside], np.asarray(PERSON)[outside])
    (other,) = run(bundle, tiny_sd, shelf, **{**request, "garment": file(tiny.picture(9))})
    assert not np.array_equal(np.asarray(output.value), np.asarray(other.value))
    assert resolved(tiny_sd, **request).prompt == DESCRIPTION


def test_clothing_that_a_model_found_is_drawn_anew_with_its_surroundings(
    bundle: PipelineBundle,
    tiny_sd: Path,
    shelf: Mapping[str, Entry],
    monkeypatch: pytest.MonkeyPatch,
):
    from diffusers import StableDiffusionInpaintPipeline

    asked = resolved(tiny_sd)
    matte = Artifact("image/png", file(clothes()).data, None, {"confidence": 0.9})
    joined = TASK.joined(asked, [matte])
    context = Dressing(tiny_sd, shelf)
    context.entry = known(tiny_sd)
    calls = calls_of(StableDiffusionInpaintPipeline, monkeypatch)
    (output,) = TASK.run(bundle, joined, context)
    assert (np.asarray(calls[0]["mask_image"][0])[np.asarray(clothes()) == 255] == 255).all()
    changed = (np.asarray(output.value) != np.asarray(PERSON)).any(axis=2)
    rows, columns = np.nonzero(changed)
    left, top, right, bottom = CLOTHES_BOX
    assert left - 4 <= columns.min() <= left
    assert right <= columns.max() <= right + 4
    assert top - 4 <= rows.min() <= top
    assert bottom <= rows.max() <= bottom + 4


@pytest.mark.parametrize(
    ("request_", "labels"),
    [
        ({}, ["Upper-clothes", "Dress"]),
        ({"category": "lower"}, ["Pants", "Skirt", "Dress"]),
        ({"labels": ["coat"]}, ["coat"]),
    ],
)
def test_clothing_is_looked_for_by_a_model_that_knows_its_labels(
    tiny_sd: Path, request_: dict[str, Any], labels: list[str]
):
    stage = TASK.before(resolved(tiny_sd, **request_), known(tiny_sd))
    assert stage is not None
    assert stage.task == "cutout"
    assert isinstance(stage.input, CutoutInput)
    assert stage.input.labels == labels
    assert stage.input.output == "matte"
    assert stage.fits is not None

    def knowing(*known_labels: str) -> bool:
        assert stage.fits is not None
        facts = {"labels": list(known_labels)}
        return stage.fits(Entry("k", "m", "/m", "", 1, "ready", facts=facts))

    assert knowing("background", *(label.upper() for label in labels))
    assert not knowing("background", "cat")
    assert not knowing()
    assert "send a mask" in stage.needs


def test_nothing_is_looked_for_with_a_mask_or_an_instruction(tiny_sd: Path, kontext: Path):
    assert TASK.before(resolved(tiny_sd, mask=file(clothes())), known(tiny_sd)) is None
    assert TASK.before(resolved(kontext), known(kontext)) is None


def test_stable_diffusion_asks_for_an_adapter_and_for_the_encoder_that_goes_with_it(
    tiny_sd: Path, kontext: Path
):
    asked = {c.slot: c for c in TASK.companions(resolved(tiny_sd), known(tiny_sd))}
    assert asked["ip_adapter"].facts == {"text_width": tiny.CROSS}
    assert asked["image_encoder"].alike == {
        "projection_dim": "ip_adapter",
        "hidden_size": "ip_adapter",
    }
    assert "FLUX Kontext" in asked["ip_adapter"].needs
    assert TASK.companions(resolved(kontext), known(kontext)) == ()


def test_an_adapter_for_another_base_is_refused_by_name(tiny_sd: Path, shelf: Mapping[str, Entry]):
    other = msgspec.structs.replace(
        shelf["ip_adapter"], name="xl-adapter", facts={"base": "sdxl", "text_width": 2048}
    )
    with pytest.raises(InvalidInput, match="xl-adapter is for sdxl, but tiny is sd1") as caught:
        TASK.fits(resolved(tiny_sd), known(tiny_sd), "ip_adapter", other)
    assert caught.value.param == "ip_adapter"
    TASK.fits(resolved(tiny_sd), known(tiny_sd), "ip_adapter", shelf["ip_adapter"])


def test_requests_do_not_share_a_call(tiny_sd: Path):
    assert TASK.batch_key(resolved(tiny_sd), known(tiny_sd)) is None


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"strength": 0.5}, "strength"),
        ({"person": MediaRef(data=b"none")}, "person"),
        ({"garment": MediaRef(data=b"none")}, "garment"),
        ({"mask": file(clothes()), "matte": file(clothes())}, "matte"),
        ({"mask": file(clothes())}, "mask"),
    ],
)
def test_what_cannot_be_done_is_refused_by_the_name_of_the_field(
    kontext: Path, request_: dict[str, Any], param: str
):
    loaded = FAMILY.load(known(kontext), device())
    assert isinstance(loaded, PipelineBundle)
    with pytest.raises(InvalidInput) as caught:
        run(loaded, kontext, **request_)
    assert caught.value.param == param
