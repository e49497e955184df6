"""Family `image_checkpoint` by headers alone, in the shapes of the published models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from onebox.core.contracts import Device, Entry
from onebox.core.errors import ModelBroken, TaskNotSupported
from onebox.core.on_disk import GgufHeader, TensorInfo
from onebox.families.image_checkpoint import CheckpointPart, ImageCheckpoint
from onebox.imaging.checkpoints.configs import TREES
from onebox.registry.components import completed
from tests.support.checkpoint_shapes import (
    CLIP_L,
    FLUX,
    OPEN_CLIP,
    SD3,
    UNET,
    XL_G,
    XL_L,
    whole,
    with_channels,
)

FAMILY = ImageCheckpoint()
GIB = 1024**3
DRAWING = {"text-to-image", "image-to-image", "inpainting"}
NO_INPUTS = {"input_blocks.0.0.weight", "img_in.weight", "x_embedder.proj.weight"}


class OnDisk:
    """A single file that has nothing but a header."""

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        name: str = "x.safetensors",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(name)
        self.name = name
        self._metadata = metadata or {}
        self.is_folder = False
        self.overrides: dict[str, Any] = {}
        self._tensors = {
            tensor: TensorInfo("F16", shape, 2 * math.prod(shape))
            for tensor, shape in shapes.items()
        }

    @property
    def files(self) -> Mapping[str, int]:
        return {self.path.name: 1}

    def tensors(self, relative: str) -> Mapping[str, TensorInfo]:
        return self._tensors

    def metadata(self, relative: str) -> Mapping[str, str]:
        return self._metadata

    def read_json(self, relative: str) -> dict[str, Any]:
        raise AssertionError

    def gguf(self, relative: str) -> GgufHeader:
        raise AssertionError


def filled(
    denoiser: Mapping[str, tuple[int, ...]], tree: str, *texts: str
) -> dict[str, tuple[int, ...]]:
    """The landmarks of a denoiser, and as many values beside them as the published one has."""
    component = "transformer" if "transformer" in TREES[tree] else "unet"
    known = sum(math.prod(s) for n, s in denoiser.items() if n not in NO_INPUTS)
    rest = int(TREES[tree][component].split(":")[1]) - known
    shapes = {**denoiser, "rest": (rest,)}
    if component == "transformer":
        return shapes
    wanted = int(TREES[tree]["vae"].split(":")[1])
    pixels = {"first_stage_model.decoder.rest": (wanted - 512 * 4 * 9,)}
    return {**whole(shapes, *texts), **pixels}


def device(dtype: Any = "bfloat16") -> Device:
    return Device("cpu", "cpu", "CPU", "cpu", "host", 99 * GIB, 99 * GIB, dtype, "float32")


def test_a_flux_of_usual_shape_says_what_it_lacks_and_what_else_it_may_be() -> None:
    match = FAMILY.matches(OnDisk(filled(FLUX, "flux-dev")))
    assert match is not None
    assert match.kind == "FluxPipeline"
    assert match.facts["tree"] == "flux-dev"
    assert match.facts["native_size"] == 1024
    assert match.facts["missing"] == {
        "vae": "vae:83819683",
        "text_encoder": "text:49408x768",
        "text_encoder_2": "text:32128x4096",
    }
    kontext = match.facts["variants"]["flux-kontext"]
    assert kontext["kind"] == "FluxKontextPipeline"
    assert {"text-to-image", "try-on"} <= set(kontext["tasks"])


def second(metadata: Mapping[str, str] | None = None, name: str = "x.safetensors") -> OnDisk:
    """A Stable Diffusion 2 of the published shape."""
    shapes = filled(UNET, "sd2", OPEN_CLIP)
    shapes[OPEN_CLIP] = (49408, 1024)
    return OnDisk(shapes, name, metadata)


@pytest.mark.parametrize(
    ("on_disk", "kind", "tree", "other"),
    [
        (
            OnDisk(filled(FLUX, "flux-dev"), "flux1-kontext-dev.safetensors"),
            *("FluxKontextPipeline", "flux-kontext", "flux-dev"),
        ),
        (
            OnDisk(filled(FLUX, "flux-dev"), metadata={"modelspec.title": "FLUX.1 Kontext [dev]"}),
            *("FluxKontextPipeline", "flux-kontext", "flux-dev"),
        ),
        (
            second({"modelspec.prediction_type": "epsilon"}),
            *("StableDiffusionPipeline", "sd2-base", "sd2"),
        ),
        (second(name="512-base-ema.safetensors"), "StableDiffusionPipeline", "sd2-base", "sd2"),
        (second(), "StableDiffusionPipeline", "sd2", "sd2-base"),
    ],
    ids=["name", "title", "prediction", "size", "silent"],
)
def test_what_no_shape_tells_the_file_may_say_and_its_owner_unsay(
    on_disk: OnDisk, kind: str, tree: str, other: str
) -> None:
    match = FAMILY.matches(on_disk)
    assert match is not None
    assert (match.kind, match.facts["tree"]) == (kind, tree)
    assert match.facts["native_size"] == {"sd2": 768, "sd2-base": 512}.get(tree, 1024)
    assert match.facts["variants"].keys() == {other}
    assert match.facts["variants"][other]["facts"]["tree"] == other
    unsaid = "StableDiffusionPipeline" if "sd2" in tree else "FluxPipeline"
    assert match.facts["variants"][other]["kind"] == unsaid


def test_the_word_of_its_owner_stands_above_what_a_file_says() -> None:
    match = FAMILY.matches(OnDisk(filled(FLUX, "flux-dev"), "flux1-kontext-dev.safetensors"))
    assert match is not None
    facts = {**match.facts, "missing": {}}
    overrides = {"components": {"config": "flux-dev"}}
    listed = Entry(
        *("k", "a", "/a.safetensors", ".safetensors", 1, "ready"),
        **{"family": FAMILY.name, "kind": match.kind, "facts": facts, "overrides": overrides},
    )
    entry = completed(listed, [], lambda family, own: tuple(own or ()))
    assert (entry.status, entry.kind, entry.facts["tree"]) == ("ready", "FluxPipeline", "flux-dev")


@pytest.mark.parametrize(("said", "expected"), [("v", True), ("epsilon", None), (None, None)])
def test_what_a_large_one_predicts_its_metadata_may_say(
    said: str | None, expected: bool | None
) -> None:
    metadata = {} if said is None else {"modelspec.prediction_type": said}
    match = FAMILY.matches(OnDisk(filled(UNET, "sdxl", XL_L, XL_G), metadata=metadata))
    assert match is not None
    assert match.facts.get("velocity") is expected


def test_a_name_changes_nothing_of_a_fill_or_of_another_shape() -> None:
    shapes = filled(with_channels(FLUX, "img_in.weight", 384), "flux-dev")
    match = FAMILY.matches(OnDisk(shapes, "kontext.safetensors"))
    assert match is not None
    assert match.kind == "FluxFillPipeline"
    match = FAMILY.matches(OnDisk(filled(UNET, "sd1", CLIP_L), "kontext-512.safetensors"))
    assert match is not None
    assert match.kind == "StableDiffusionPipeline"


def test_a_fill_of_flux_is_for_inpainting_alone() -> None:
    shapes = filled(with_channels(FLUX, "img_in.weight", 384), "flux-dev")
    match = FAMILY.matches(OnDisk(shapes))
    assert match is not None
    assert match.kind == "FluxFillPipeline"
    assert match.tasks is not None
    assert "inpainting" in match.tasks
    assert "text-to-image" not in match.tasks
    assert match.facts["variants"] == {}


@pytest.mark.parametrize(
    ("tree", "texts", "size", "kind"),
    [
        ("sd1", (CLIP_L,), 512, "StableDiffusionPipeline"),
        ("sd2", (OPEN_CLIP,), 768, "StableDiffusionPipeline"),
        ("sdxl", (XL_L, XL_G), 1024, "StableDiffusionXLPipeline"),
    ],
)
def test_published_stable_diffusions_are_known_by_their_size(
    tree: str, texts: tuple[str, ...], size: int, kind: str
) -> None:
    shapes = filled(UNET, tree, *texts)
    for name, stamp in TREES[tree].items():
        if stamp.startswith("text:"):
            token = texts[0] if name == "text_encoder" else texts[-1]
            rows, columns = stamp.removeprefix("text:").split("x")
            shapes[token] = (int(rows), int(columns))
    match = FAMILY.matches(OnDisk(shapes))
    assert match is not None
    assert (match.kind, match.facts["tree"], match.facts["native_size"]) == (kind, tree, size)
    assert match.tasks is not None
    assert match.tasks >= DRAWING


def test_the_second_one_for_inpainting_was_trained_as_its_base() -> None:
    shapes = filled(with_channels(UNET, "input_blocks.0.0.weight", 9), "sd2", OPEN_CLIP)
    shapes[OPEN_CLIP] = (49408, 1024)
    match = FAMILY.matches(OnDisk(shapes))
    assert match is not None
    assert match.facts["tree"] == "sd2-base"
    assert match.kind == "StableDiffusionInpaintPipeline"


def test_each_third_one_has_its_tree() -> None:
    for tree in ("sd3-medium", "sd3.5-medium", "sd3.5-large"):
        match = FAMILY.matches(OnDisk(filled(SD3, tree)))
        assert match is not None
        assert match.facts["tree"] == tree


def test_what_must_come_from_elsewhere_is_counted_too() -> None:
    shapes = filled(FLUX, "flux-dev")
    own = sum(math.prod(shape) for shape in shapes.values())
    text = 123_650_304 + 4_762_310_656
    estimate = FAMILY.estimate(OnDisk(shapes), device())
    assert estimate == pytest.approx(2 * (own + text) + 4 * 83_819_683, rel=1e-5)


def test_an_unusual_shape_has_no_tree_and_no_size() -> None:
    match = FAMILY.matches(OnDisk(whole(UNET, CLIP_L)))
    assert match is not None
    assert "tree" not in match.facts
    assert "native_size" not in match.facts


def test_other_files_are_not_its_own() -> None:
    shapes = whole(UNET, CLIP_L)
    assert FAMILY.matches(OnDisk(shapes, "x.gguf")) is None
    assert FAMILY.matches(OnDisk({"a": (1,)})) is None
    assert CheckpointPart().matches(OnDisk(shapes)) is None


def test_a_file_of_one_part_is_sound_though_nothing_is_loaded_of_it_alone() -> None:
    entry = Entry("k", "ae", "ae.safetensors", ".safetensors", 1, "ready")
    with pytest.raises(TaskNotSupported, match="ae is a part of image checkpoints"):
        CheckpointPart().load(entry, device())


def test_a_file_with_another_noise_is_refused() -> None:
    with pytest.raises(ModelBroken, match="schedule of noise"):
        FAMILY.matches(OnDisk({**whole(UNET, CLIP_L), "edm_mean": (4,)}))
