"""The weights of single files: precisions, older names, and what trainers leave in them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from onebox.core.errors import ModelBroken
from onebox.imaging.checkpoints.assembly import Plan, load_pipeline
from onebox.registry.on_disk import open_on_disk
from tests.families.pictures import device
from tests.families.single_file_loading import (
    FAMILY,
    Folders,
    assert_same,
    assert_same_tensors,
    entry,
    load,
    weights,
)
from tests.support.single_files import component_tensors, single_file


def test_half_precision_is_kept_or_widened_as_the_device_wants_it(
    folders: Folders, tmp_path: Path
) -> None:
    import torch

    folder = folders("StableDiffusionPipeline")
    file = single_file(folder, tmp_path / "half.safetensors", dtype=torch.float16)

    half = load(file, {"config": str(folder)}, "float16")
    full = load(file, {"config": str(folder)})

    assert {half.unet.dtype, half.text_encoder.dtype} == {torch.float16}
    assert half.vae.dtype == torch.float32  # the device's own for decoders
    assert full.unet.dtype == torch.float32
    assert FAMILY.estimate(open_on_disk(file), device("float16")) == sum(
        value.numel() * value.element_size()
        for component in weights(half).values()
        for value in component.values()
    )


def test_a_layout_of_an_older_text_encoder_loads_the_same(folders: Folders, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = folders("StableDiffusionPipeline")
    file = single_file(folder, tmp_path / "one.safetensors")
    before = load(file, {"config": str(folder)})
    tensors = {
        n.replace("transformer.text_model.", "transformer."): t for n, t in load_file(file).items()
    }
    old = tmp_path / "old.safetensors"
    save_file(tensors, old)

    assert_same(load(old, {"config": str(folder)}), before)


def test_a_file_of_which_tensors_are_missing_is_refused_by_their_name(
    folders: Folders, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = folders("StableDiffusionPipeline")
    tensors = load_file(single_file(folder, tmp_path / "whole.safetensors"))
    for lost, part in (
        ("model.diffusion_model.out.0.bias", "unet"),
        ("final_layer_norm.bias", "text"),
    ):
        kept = {name: value for name, value in tensors.items() if not name.endswith(lost)}
        file = tmp_path / f"{part}.safetensors"
        save_file(kept, file)

        with pytest.raises(ModelBroken, match=f"its {part}.* missing.*copy the file again"):
            load(file, {"config": str(folder)})


def test_the_text_encoder_of_the_second_one_is_read_as_open_clip_wrote_it(
    folders: Folders, tmp_path: Path
) -> None:
    import diffusers

    folder = folders("StableDiffusionPipeline")
    file = single_file(folder, tmp_path / "two.safetensors", base="sd2")
    assert entry(file).facts["base"] == "sd2"

    pipeline = load(file, {"config": str(folder)})

    assert_same(pipeline, diffusers.DiffusionPipeline.from_pretrained(folder))


def test_a_layer_that_the_configuration_leaves_out_is_not_loaded(
    folders: Folders, tmp_path: Path
) -> None:
    """The second one reads what its text encoder says before the last layer."""
    folder = shutil.copytree(folders("StableDiffusionPipeline"), tmp_path / "short")
    config = folder / "text_encoder" / "config.json"
    config.write_text(
        config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 1')
    )
    file = single_file(folders("StableDiffusionPipeline"), tmp_path / "x.safetensors", base="sd2")

    encoder = load(file, {"config": str(folder)}).text_encoder

    assert encoder.config.num_hidden_layers == 1
    whole = component_tensors(folder / "text_encoder")
    assert_same_tensors(
        encoder.state_dict(), {n: t for n, t in whole.items() if "layers.1." not in n}
    )


def test_what_trainers_note_of_the_noise_goes_to_the_scheduler(
    folders: Folders, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = folders("StableDiffusionPipeline")
    tensors = load_file(single_file(folder, tmp_path / "plain.safetensors"))
    noted = tmp_path / "noted.safetensors"
    save_file({**tensors, "v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}, noted)

    plain = load(tmp_path / "plain.safetensors", {"config": str(folder)}).scheduler.config
    told = load(noted, {"config": str(folder)}).scheduler.config

    assert (plain.prediction_type, plain.rescale_betas_zero_snr) == ("epsilon", False)
    assert (told.prediction_type, told.rescale_betas_zero_snr) == ("v_prediction", True)


def test_what_a_file_says_that_it_predicts_counts_where_no_configuration_is_named(
    folders: Folders, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = folders("StableDiffusionPipeline")
    file = single_file(folder, tmp_path / "x.safetensors")
    save_file(load_file(file), file, {"modelspec.prediction_type": "v"})
    plan = Plan(file, folder, "StableDiffusionPipeline", {}, torch.float32, torch.float32)

    found = entry(file)
    told = load_pipeline(replace(plan, velocity=True)).scheduler.config
    named = load(file, {"config": str(folder)}).scheduler.config

    assert found.facts["velocity"] is True
    assert (told.prediction_type, named.prediction_type) == ("v_prediction", "epsilon")


@pytest.mark.parametrize(
    "name", ["StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "FluxPipeline"]
)
def test_weights_of_eight_bits_are_widened(name: str, folders: Folders, tmp_path: Path) -> None:
    import torch

    folder = folders(name)
    file = single_file(folder, tmp_path / "small.safetensors", dtype=torch.float8_e4m3fn)

    pipeline = load(file, {"config": str(folder)}, "bfloat16")

    for component, tensors in weights(pipeline).items():
        wanted = torch.float32 if component == "vae" else torch.bfloat16
        assert {t.dtype for t in tensors.values() if t.is_floating_point()} == {wanted}


def test_an_xl_for_inpainting_is_read_with_its_nine_channels(
    folders: Folders, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = folders("StableDiffusionXLPipeline")
    tensors = load_file(single_file(folder, tmp_path / "four.safetensors"))
    name = "model.diffusion_model.input_blocks.0.0.weight"
    more = torch.rand(tensors[name].shape[0], 5, 3, 3)
    tensors[name] = torch.cat([tensors[name], more], dim=1)
    nine = tmp_path / "nine.safetensors"
    save_file(tensors, nine)

    pipeline = load(nine, {"config": str(folder)})

    assert type(pipeline).__name__ == "StableDiffusionXLInpaintPipeline"
    assert pipeline.unet.config.in_channels == 9
    assert torch.equal(pipeline.unet.conv_in.weight, tensors[name])
    assert "text-to-image" not in entry(nine).tasks
