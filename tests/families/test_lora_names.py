"""The names that trainers give the layers of SDXL, SD3 and FLUX, on tiny pipelines."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from onebox.imaging.diffusion.adapters import applied
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.imaging.diffusion.lora_keys import DENOISER, LayerName
from onebox.imaging.diffusion.lora_targets import targets_of
from onebox.imaging.diffusion.recipe import Adapter, Recipe
from tests.families.adapter_files import (
    RANK,
    ContextWith,
    Layer,
    kohya,
    layers,
    merged,
    peft,
    product,
    save,
)
from tests.families.pictures import TASK, assert_alike, draw, resolve
from tests.families.tiny_pipelines import Shelf

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
SMALL = {"width": 64, "height": 64}
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


def picture(bundle: PipelineBundle, folder: Path) -> np.ndarray:
    return draw(bundle, folder, seed=5, **SMALL)[0]


def assert_as_if_merged(
    shelf: Shelf, kind: str, tensors: dict[str, Any], differences: Any, folder: Path
) -> None:
    bundle, place = shelf.bundle(kind), shelf.path(kind)
    lora = save(folder / "a.safetensors", tensors)
    asked = resolve(place, seed=5, **SMALL, loras=[{"model": lora.name}])
    (output,) = TASK.run(bundle, asked, ContextWith(place, lora))
    drawn, before = np.asarray(output.value), picture(bundle, place)
    changed = PipelineBundle(copy.deepcopy(bundle.pipeline), 1)
    merged(changed.pipeline, differences)
    assert_alike(drawn, picture(changed, place))
    assert not np.array_equal(drawn, before)
    assert np.array_equal(picture(bundle, place), before)


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


@pytest.mark.parametrize("prefix", ["lora_unet_", "diffusion_model."])
def test_a_flux_lora_in_the_original_layout_whose_layers_are_several_of_ours(
    shelf, tmp_path, prefix
):
    parts = {
        "double_blocks.0.img_attn.qkv": [f"transformer_blocks.0.attn.to_{x}" for x in "qkv"],
        "double_blocks.0.txt_attn.qkv": [f"transformer_blocks.0.attn.add_{x}_proj" for x in "qkv"],
        "double_blocks.0.img_mlp.0": ["transformer_blocks.0.ff.net.0.proj"],
        "double_blocks.0.txt_mod.lin": ["transformer_blocks.0.norm1_context.linear"],
        "single_blocks.0.linear1": [
            *(f"single_transformer_blocks.0.attn.to_{x}" for x in "qkv"),
            "single_transformer_blocks.0.proj_mlp",
        ],
        "single_blocks.0.linear2": ["single_transformer_blocks.0.proj_out"],
        "img_in": ["x_embedder"],
        "guidance_in.in_layer": ["time_text_embed.guidance_embedder.linear_1"],
        "final_layer.linear": ["proj_out"],
    }
    transformer = shelf.bundle("flux").pipeline.transformer
    rows = torch.Generator().manual_seed(4)
    tensors, wanted = {}, {}
    for name, ours in parts.items():
        sizes = [transformer.get_submodule(one).out_features for one in ours]
        inputs = transformer.get_submodule(ours[0]).in_features
        down = torch.randn(RANK, inputs, generator=rows) * 0.2
        up = torch.randn(sum(sizes), RANK, generator=rows) * 0.2
        key = prefix + (name.replace(".", "_") if prefix.endswith("_") else name)
        kinds = ("lora_down", "lora_up") if prefix.endswith("_") else ("lora_A", "lora_B")
        tensors |= {f"{key}.{kinds[0]}.weight": down, f"{key}.{kinds[1]}.weight": up}
        pieces = (up @ down).split(sizes)
        wanted |= {("transformer", one): part for one, part in zip(ours, pieces, strict=True)}
    assert_as_if_merged(shelf, "flux", tensors, wanted, tmp_path)


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
