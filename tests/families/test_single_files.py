"""Family `image_checkpoint` on tiny random pipelines, each written as one file and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from onebox.core.errors import ModelBroken
from onebox.families.image_checkpoint import CheckpointPart
from onebox.families.image_diffusion import ImageDiffusion
from onebox.registry.components import completed, sources_of
from onebox.registry.on_disk import open_on_disk
from tests.families import pictures
from tests.families.pictures import device
from tests.families.single_file_loading import (
    BUILDERS,
    FAMILY,
    Folders,
    assert_same,
    entry,
    load,
    picture,
)
from tests.support.single_files import component_tensors, single_file


@pytest.mark.parametrize("name", BUILDERS)
def test_a_single_file_loads_as_its_folder_does_bit_for_bit(
    name: str, folders: Folders, tmp_path: Path
) -> None:
    import diffusers

    folder = folders(name)
    file = single_file(folder, tmp_path / "one.safetensors")

    pipeline = load(file, {"config": str(folder)})

    assert type(pipeline).__name__ == name
    assert_same(pipeline, diffusers.DiffusionPipeline.from_pretrained(folder))


@pytest.mark.parametrize("name", ["StableDiffusionPipeline", "StableDiffusionXLPipeline"])
def test_a_single_file_draws_the_picture_of_its_folder(
    name: str, folders: Folders, tmp_path: Path
) -> None:
    folder = folders(name)
    file = single_file(folder, tmp_path / "one.safetensors")
    other = ImageDiffusion().load(pictures.entry(folder), device())

    mine = picture(load(file, {"config": str(folder)}))

    assert np.array_equal(mine, picture(other.pipeline))  # type: ignore[attr-defined]


def test_a_transformer_alone_takes_the_rest_from_an_installed_folder(
    folders: Folders, tmp_path: Path
) -> None:
    import diffusers

    folder = folders("FluxPipeline")
    rest = ("vae", "text_encoder", "text_encoder_2")
    file = single_file(folder, tmp_path / "alone.safetensors", without=rest)
    places = {part: str(folder / part) for part in rest}

    pipeline = load(file, {"config": str(folder), **places})

    assert_same(pipeline, diffusers.DiffusionPipeline.from_pretrained(folder))


def test_a_transformer_alone_takes_the_rest_from_files_of_one_part(
    folders: Folders, tmp_path: Path
) -> None:
    import diffusers
    from safetensors.torch import load_file, save_file

    folder = folders("FluxPipeline")
    whole = load_file(single_file(folder, tmp_path / "whole.safetensors"))
    places = {"config": str(folder)}
    for part, prefix in (
        ("transformer", "model.diffusion_model."),
        ("vae", "vae."),
        ("text_encoder", "text_encoders.clip_l.transformer."),
        ("text_encoder_2", "text_encoders.t5xxl.transformer."),
    ):
        places[part] = str(tmp_path / f"{part}.safetensors")
        own = {n.removeprefix(prefix): t for n, t in whole.items() if n.startswith(prefix)}
        save_file(own, places[part])
    file = Path(places.pop("transformer"))
    kinds = [CheckpointPart().matches(open_on_disk(Path(place))) for place in places.values()][1:]

    pipeline = load(file, places)

    assert [match.kind for match in kinds if match is not None] == ["vae", "clip", "t5"]
    assert_same(pipeline, diffusers.DiffusionPipeline.from_pretrained(folder))


def test_a_configuration_of_another_shape_is_refused(folders: Folders, tmp_path: Path) -> None:
    file = single_file(folders("StableDiffusionPipeline"), tmp_path / "one.safetensors")

    with pytest.raises(ModelBroken, match="another shape than the configuration"):
        load(file, {"config": "sd1"})


def test_the_shapes_of_a_file_find_the_folder_they_came_from(
    folders: Folders, tmp_path: Path
) -> None:
    rest = ("vae", "text_encoder", "text_encoder_2")
    others = []
    for name in ("StableDiffusionPipeline", "FluxPipeline", "FluxFillPipeline"):
        match = ImageDiffusion().matches(open_on_disk(folders(name)))
        assert match is not None
        lost = rest if name.startswith("Flux") else ()
        found = entry(single_file(folders(name), tmp_path / f"{name}.safetensors", without=lost))
        folder = msgspec.structs.replace(
            found, key=name, path=str(folders(name)), extension="", facts=dict(match.facts)
        )
        others.append(folder)
    flux = entry(tmp_path / "FluxPipeline.safetensors")

    done = completed(flux, sources_of(others), lambda family, own: ())

    folder = folders("FluxPipeline")
    assert done.components == {
        "config": str(folder),
        **{part: str(folder / part) for part in rest},
    }
    assert done.status == "ready"


def test_a_kind_that_only_its_owner_can_tell_is_loaded_as_he_says(
    folders: Folders, tmp_path: Path
) -> None:
    folder = folders("FluxPipeline")
    found = entry(single_file(folder, tmp_path / "one.safetensors"))
    told = msgspec.structs.replace(
        found, kind="FluxKontextPipeline", components={"config": str(folder)}
    )

    bundle: Any = FAMILY.load(told, device())

    assert type(bundle.pipeline).__name__ == "FluxKontextPipeline"


def test_every_tensor_of_a_folder_is_in_the_file_that_is_written(
    folders: Folders, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    for name in BUILDERS:
        folder = folders(name)
        written = load_file(single_file(folder, tmp_path / f"{name}.safetensors"))
        parts = [part for part in folder.iterdir() if list(part.glob("*.safetensors"))]
        tensors = [t for part in parts for t in component_tensors(part).values()]
        assert sum(t.numel() for t in written.values()) == sum(t.numel() for t in tensors)
