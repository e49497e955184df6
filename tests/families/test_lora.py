"""LoRAs on tiny pipelines: as if merged into the weights, and gone without a trace."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onebox.core.errors import Cancelled, InvalidInput
from onebox.imaging.diffusion.adapters import applied
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.imaging.diffusion.recipe import Adapter, Recipe
from tests.families.adapter_files import (
    RANK,
    ContextWith,
    attention,
    kohya,
    layers,
    merged,
    peft,
    product,
    save,
)
from tests.families.pictures import TASK, assert_alike, draw, entry, resolve


def with_loras(
    bundle: PipelineBundle, folder: Path, files: dict[Path, float], **request: Any
) -> np.ndarray:
    """The picture of a request with these files, each as strong."""
    named = [{"model": path.name, "scale": scale} for path, scale in files.items()]
    asked = resolve(folder, seed=5, loras=named, **request)
    (output,) = TASK.run(bundle, asked, ContextWith(folder, *files))
    return np.asarray(output.value)


def plain(bundle: PipelineBundle, folder: Path, **request: Any) -> np.ndarray:
    return draw(bundle, folder, seed=5, **request)[0]


def with_merged(bundle: PipelineBundle, folder: Path, differences: Any) -> np.ndarray:
    changed = copy.deepcopy(bundle.pipeline)
    merged(changed, differences)
    return plain(PipelineBundle(changed, 1), folder)


@pytest.fixture
def unet(bundle: PipelineBundle) -> list[Any]:
    return list(layers(bundle.pipeline, "unet", attention))


@pytest.fixture(autouse=True)
def nothing_stays(bundle: PipelineBundle, tiny_sd: Path) -> Iterator[None]:
    """Whatever a test does, the pipeline draws bit for bit as before it."""
    before = plain(bundle, tiny_sd)
    yield
    assert np.array_equal(plain(bundle, tiny_sd), before)


def test_a_lora_of_kohya_draws_as_if_merged(bundle, tiny_sd, tmp_path, unet):
    chosen = [
        *unet,
        *layers(bundle.pipeline, "unet", lambda name: "resnets" in name),
        *layers(bundle.pipeline, "text_encoder", lambda name: "layers" in name),
    ]
    tensors = {key: value for layer in chosen for key, value in kohya(layer, alpha=2.0).items()}
    lora = save(tmp_path / "a.safetensors", tensors)
    drawn = with_loras(bundle, tiny_sd, {lora: 0.7})
    wanted = {(layer.component, layer.name): product(layer) * 0.7 * 2.0 / RANK for layer in chosen}
    assert_alike(drawn, with_merged(bundle, tiny_sd, wanted))
    assert not np.array_equal(drawn, plain(bundle, tiny_sd))


def test_a_lora_as_pipelines_save_it_draws_as_if_merged(bundle, tiny_sd, tmp_path, unet):
    chosen = [*unet, *layers(bundle.pipeline, "text_encoder", lambda name: "layers" in name)]
    tensors = {key: value for layer in chosen for key, value in peft(layer).items()}
    lora = save(tmp_path / "a.safetensors", tensors)
    wanted = {(layer.component, layer.name): product(layer) for layer in chosen}
    drawn = with_loras(bundle, tiny_sd, {lora: 1.0})
    assert_alike(drawn, with_merged(bundle, tiny_sd, wanted))


def test_the_strength_in_the_metadata_of_a_file_counts(bundle, tiny_sd, tmp_path, unet):
    tensors = {key: value for layer in unet for key, value in peft(layer).items()}
    told = {"unet.lora_alpha": 3, "unet.alpha_pattern": {unet[0].name: 1}, "unet.use_rslora": True}
    metadata = {"lora_adapter_metadata": json.dumps(told)}
    lora = save(tmp_path / "a.safetensors", tensors, metadata)
    alphas = {layer.name: 3 for layer in unet} | {unet[0].name: 1}
    wanted = {
        ("unet", layer.name): product(layer) * alphas[layer.name] / RANK**0.5 for layer in unet
    }
    drawn = with_loras(bundle, tiny_sd, {lora: 1.0})
    assert_alike(drawn, with_merged(bundle, tiny_sd, wanted))


def test_the_layout_of_the_first_loras_is_read(bundle, tiny_sd, tmp_path, unet):
    chosen = [layer for layer in unet if ".attn" in layer.name]
    tensors = {}
    for layer in chosen:
        block, _, last = layer.name.replace("to_out.0", "to_out").rpartition(".")
        key = f"unet.{block}.processor.{last}_lora"
        tensors |= {f"{key}.down.weight": layer.down, f"{key}.up.weight": layer.up}
    lora = save(tmp_path / "a.safetensors", tensors)
    wanted = {("unet", layer.name): product(layer) for layer in chosen}
    drawn = with_loras(bundle, tiny_sd, {lora: 1.0})
    assert_alike(drawn, with_merged(bundle, tiny_sd, wanted))


def test_loha_lokr_tucker_and_plain_differences_draw_as_if_merged(bundle, tiny_sd, tmp_path):
    linear, other, third = [
        layer.name for layer in layers(bundle.pipeline, "unet", lambda n: "attn1.to_" in n)
    ][:3]
    conv = "mid_block.resnets.0.conv1"
    rows = torch.Generator().manual_seed(3)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rows) * 0.3

    width = bundle.pipeline.unet.get_submodule(linear).in_features
    one, two = (some(width, 2), some(2, width)), (some(width, 2), some(2, width))
    small, large = some(2, 2), some(width // 2, width // 2)
    outputs, inputs, *kernel = bundle.pipeline.unet.get_submodule(conv).weight.shape
    down, mid, up = some(2, inputs, 1, 1), some(2, 2, *kernel), some(outputs, 2, 1, 1)
    whole = some(width, width)

    def key(name: str) -> str:
        return f"lora_unet_{name.replace('.', '_')}"

    tensors = {
        f"{key(linear)}.hada_w1_a": one[0],
        f"{key(linear)}.hada_w1_b": one[1],
        f"{key(linear)}.hada_w2_a": two[0],
        f"{key(linear)}.hada_w2_b": two[1],
        f"{key(linear)}.alpha": torch.tensor(1.0),
        f"{key(other)}.lokr_w1": small,
        f"{key(other)}.lokr_w2": large,
        f"{key(other)}.alpha": torch.tensor(9.0),
        f"{key(third)}.diff": whole,
        f"{key(conv)}.lora_down.weight": down,
        f"{key(conv)}.lora_mid.weight": mid,
        f"{key(conv)}.lora_up.weight": up,
    }
    wanted = {
        ("unet", linear): (one[0] @ one[1]) * (two[0] @ two[1]) / 2,
        # Whole factors have no rank, so that no alpha applies to them.
        ("unet", other): torch.kron(small, large),
        ("unet", third): whole,
        ("unet", conv): torch.einsum("or,rskl,si->oikl", up[..., 0, 0], mid, down[..., 0, 0]),
    }
    lora = save(tmp_path / "a.safetensors", tensors)
    drawn = with_loras(bundle, tiny_sd, {lora: 1.0})
    assert_alike(drawn, with_merged(bundle, tiny_sd, wanted))


def test_several_add_up_and_one_of_no_strength_does_nothing(bundle, tiny_sd, tmp_path, unet):
    first, second = unet[::2], unet[:3]
    files = {
        save(tmp_path / f"{name}.safetensors", {k: v for x in some for k, v in peft(x).items()}): s
        for name, some, s in (("a", first, 0.5), ("b", second, -0.4))
    }
    wanted: dict[Any, Any] = {}
    for some, strength in ((first, 0.5), (second, -0.4)):
        for layer in some:
            place = "unet", layer.name
            wanted[place] = wanted.get(place, 0) + product(layer) * strength
    drawn = with_loras(bundle, tiny_sd, files)
    assert_alike(drawn, with_merged(bundle, tiny_sd, wanted))
    silent = with_loras(bundle, tiny_sd, dict.fromkeys(files, 0.0))
    assert np.array_equal(silent, plain(bundle, tiny_sd))


def test_requests_with_and_without_alternate_as_if_alone(bundle, tiny_sd, tmp_path, unet):
    tensors = {key: value for layer in unet for key, value in peft(layer).items()}
    lora = save(tmp_path / "a.safetensors", tensors)
    clean = plain(bundle, tiny_sd)
    styled = with_loras(bundle, tiny_sd, {lora: 1.0})
    for _ in range(2):
        assert np.array_equal(plain(bundle, tiny_sd), clean)
        assert np.array_equal(with_loras(bundle, tiny_sd, {lora: 1.0}), styled)
    assert not np.array_equal(clean, styled)


def test_requests_of_different_loras_do_not_share_a_call(tiny_sd):
    asked = [resolve(tiny_sd, seed=1, loras=loras) for loras in (None, [{"model": "a"}])]
    asked.append(resolve(tiny_sd, seed=1, loras=[{"model": "a", "scale": 0.5}]))
    assert len({TASK.batch_key(one, entry(tiny_sd)) for one in asked}) == 3


def test_a_cancelled_run_leaves_nothing_behind(bundle, tiny_sd, tmp_path, unet):
    tensors = {key: value for layer in unet for key, value in peft(layer).items()}
    lora = save(tmp_path / "a.safetensors", tensors)
    asked = resolve(tiny_sd, seed=5, loras=[{"model": lora.name}])
    with pytest.raises(Cancelled):
        TASK.run(bundle, asked, ContextWith(tiny_sd, lora, stop_at=1))


class ImpatientContext(ContextWith):
    """Cancelled when it is asked for the second time."""

    asked = 0

    def check(self) -> None:
        self.asked += 1
        if self.asked > 1:
            raise Cancelled("stop")


def test_a_cancel_takes_effect_between_two_layers(bundle, tiny_sd, tmp_path, unet):
    tensors = {key: value for layer in unet for key, value in peft(layer).items()}
    lora = save(tmp_path / "a.safetensors", tensors)
    recipe = Recipe("text-to-image", 64, 64, 1, 1.0, loras=(Adapter(f"lora:{lora.name}"),))
    context = ImpatientContext(tiny_sd, lora)
    with pytest.raises(Cancelled), applied(bundle, recipe, context):
        pass


def test_one_for_other_shapes_is_refused_by_name(bundle, tiny_sd, tmp_path, unet):
    tensors = {key: value for layer in unet for key, value in peft(layer).items()}
    odd = f"unet.{unet[-1].name}.lora_A.weight"
    lora = save(tmp_path / "odd.safetensors", tensors | {odd: torch.ones(RANK, 7)})
    with pytest.raises(InvalidInput, match=r"odd\.safetensors does not fit tiny: 1 of its") as info:
        with_loras(bundle, tiny_sd, {lora: 1.0})
    assert info.value.param == "loras"


def test_one_with_layers_that_the_model_lacks_is_refused(bundle, tiny_sd, tmp_path, unet):
    tensors = {key: value for layer in unet for key, value in peft(layer).items()}
    for part in ("lora_A", "lora_B"):
        tensors[f"unet.down_blocks.9.attentions.0.proj_in.{part}.weight"] = torch.ones(4, 4)
    lora = save(tmp_path / "a.safetensors", tensors)
    with pytest.raises(InvalidInput, match="down_blocks_9_attentions_0_proj_in"):
        with_loras(bundle, tiny_sd, {lora: 1.0})
