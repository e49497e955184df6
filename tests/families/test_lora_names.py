"""The names that trainers give the layers of SDXL, SD3 and FLUX, on tiny pipelines."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import pytest
import torch

from onebox.imaging.diffusion.adapters import applied
from onebox.imaging.diffusion.lora_keys import DENOISER, LayerName
from onebox.imaging.diffusion.lora_targets import targets_of
from onebox.imaging.diffusion.recipe import Adapter, Recipe
from tests.families.adapter_files import (
    RANK,
    ContextWith,
    Layer,
    assert_as_if_merged,
    attention,
    kohya,
    layers,
    peft,
    product,
    save,
)

# Blocks of a UNet with two layers in each of three blocks down, as SDXL's was published:
# (diffusers, original).
SDXL_BLOCKS = (
    *((f"down_blocks.0.resnets.{i}", f"input_blocks.{1 + i}.0") for i in range(2)),
    ("down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"),
    *((f"down_blocks.1.resnets.{i}", f"input_blocks.{4 + i}.0") for i in range(2)),
    *((f"down_blocks.1.attentions.{i}", f"input_blocks.{4 + i}.1") for i in range(2)),
    ("down_blocks.1.downsamplers.0.conv", "input_blocks.6.0.op"),
    *((f"down_blocks.2.resnets.{i}", f"input_blocks.{7 + i}.0") for i in range(2)),
    *((f"down_blocks.2.attentions.{i}", f"input_blocks.{7 + i}.1") for i in range(2)),
    ("mid_block.resnets.0", "middle_block.0"),
    ("mid_block.attentions.0", "middle_block.1"),
    ("mid_block.resnets.1", "middle_block.2"),
    *((f"up_blocks.0.resnets.{i}", f"output_blocks.{i}.0") for i in range(3)),
    *((f"up_blocks.0.attentions.{i}", f"output_blocks.{i}.1") for i in range(3)),
    ("up_blocks.0.upsamplers.0.conv", "output_blocks.2.2.conv"),
    *((f"up_blocks.1.resnets.{i}", f"output_blocks.{3 + i}.0") for i in range(3)),
    *((f"up_blocks.1.attentions.{i}", f"output_blocks.{3 + i}.1") for i in range(3)),
    ("up_blocks.1.upsamplers.0.conv", "output_blocks.5.2.conv"),
    *((f"up_blocks.2.resnets.{i}", f"output_blocks.{6 + i}.0") for i in range(3)),
    ("conv_in", "input_blocks.0.0"),
    ("conv_out", "out.2"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
)
IN_RESNETS = (
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
)


def original_name(name: str) -> str:
    """A layer's name in the layout SDXL was published in."""
    block, original = next(
        pair for pair in SDXL_BLOCKS if name == pair[0] or name.startswith(f"{pair[0]}.")
    )
    rest = name.removeprefix(block)
    for ours, theirs in IN_RESNETS if ".resnets." in block else ():
        rest = rest.replace(ours, theirs)
    return original + rest


def test_every_layer_of_an_sdxl_unet_has_its_original_name():
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(8, 8, 16),
            layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 1, 2),
            cross_attention_dim=8,
            attention_head_dim=4,
            norm_num_groups=4,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=32,
        )
    targets = targets_of(SimpleNamespace(unet=unet))
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    names = [name for name, module in unet.named_modules() if isinstance(module, kinds)]
    assert len(names) > 150
    for name in names:
        for alias in (name, original_name(name)):
            (target,) = targets[LayerName(DENOISER, alias.replace(".", "_"))]
            assert (target.component, target.name) == ("unet", name)


def test_an_sdxl_lora_of_kohya_with_both_text_encoders(shelf, tmp_path):
    pipeline = shelf.bundle("sdxl").pipeline
    chosen = [
        *layers(pipeline, "unet", lambda name: "mid_block" in name),
        *layers(pipeline, "text_encoder", lambda name: "layers" in name),
        *layers(pipeline, "text_encoder_2", lambda name: "layers" in name),
    ]
    tensors = {}
    for layer in chosen:
        name = original_name(layer.name) if layer.component == "unet" else layer.name
        tensors |= kohya(Layer(layer.component, name, layer.down, layer.up), alpha=2.0)
    wanted = {(x.component, x.name): product(x) * 2.0 / RANK for x in chosen}
    assert_as_if_merged(shelf, "sdxl", tensors, wanted, tmp_path)


@pytest.mark.parametrize("kind", ["sd3", "flux"])
def test_a_lora_as_pipelines_of_transformers_save_it(shelf, tmp_path, kind):
    pipeline = shelf.bundle(kind).pipeline
    chosen = [
        *layers(pipeline, "transformer", lambda name: "attn" in name or "ff" in name),
        *layers(pipeline, "text_encoder", lambda name: "layers" in name),
    ]
    tensors = {key: value for layer in chosen for key, value in peft(layer).items()}
    wanted = {(layer.component, layer.name): product(layer) for layer in chosen}
    assert_as_if_merged(shelf, kind, tensors, wanted, tmp_path)


@pytest.mark.parametrize(
    ("kind", "component", "name", "known"),
    [("flux-fill", "transformer", "x_embedder", 16), ("sd-inpaint", "unet", "conv_in", 4)],
)
def test_one_for_the_model_without_a_mask_knows_the_first_inputs_of_one_with(
    shelf, tmp_path, kind, component, name, known
):
    bundle, place = shelf.bundle(kind), shelf.path(kind)
    layer = next(layers(bundle.pipeline, component, lambda other: other == name))
    narrow = Layer(component, name, layer.down[:, :known], layer.up)
    lora = save(tmp_path / "a.safetensors", peft(narrow))
    context = ContextWith(place, lora)
    recipe = Recipe("inpainting", 64, 64, 2, 5.0, loras=(Adapter(f"lora:{lora.name}"),))
    layer_before = getattr(bundle.pipeline, component).get_submodule(name)
    shape = (2, *layer.down.shape[1:2], *((8, 8) if layer.down.ndim == 4 else ()))
    given = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    whole = copy.deepcopy(layer_before)
    whole.weight.data[:, :known] += product(narrow)
    with applied(bundle, recipe, context), torch.inference_mode():
        found = getattr(bundle.pipeline, component).get_submodule(name)(given)
    assert torch.allclose(found, whole(given), atol=1e-5)
    assert getattr(bundle.pipeline, component).get_submodule(name) is layer_before


def test_a_folder_as_peft_saves_it_draws_with_the_strengths_of_its_configuration(shelf, tmp_path):
    chosen = list(layers(shelf.bundle("sdxl").pipeline, "unet", attention))
    prefix = "base_model.model."
    tensors = {
        key.replace("unet.", prefix, 1): value for x in chosen for key, value in peft(x).items()
    }
    strongest = chosen[3].name
    told = {
        **{"peft_type": "LORA", "r": RANK, "lora_alpha": 3, "use_rslora": True},
        "alpha_pattern": {strongest: 5},
    }
    (tmp_path / "ink").mkdir()
    save(tmp_path / "ink" / "adapter_model.safetensors", tensors)
    (tmp_path / "ink" / "adapter_config.json").write_text(json.dumps(told))
    wanted = {
        ("unet", x.name): product(x) * (5 if x.name == strongest else 3) / RANK**0.5 for x in chosen
    }
    assert_as_if_merged(shelf, "sdxl", tmp_path / "ink", wanted, tmp_path)
