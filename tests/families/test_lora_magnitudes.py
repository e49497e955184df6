"""DoRA: rows and columns of a layer's weight get the lengths of the file, in every form of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onebox.imaging.diffusion.adapters import applied
from onebox.imaging.diffusion.lora_layers import adapted
from onebox.imaging.diffusion.lora_magnitudes import Part, scaled_additions
from onebox.imaging.diffusion.lora_places import Place, shape_of
from onebox.imaging.diffusion.recipe import Adapter, Recipe
from tests.families.adapter_files import (
    RANK,
    ContextWith,
    Layer,
    attention,
    kohya,
    layers,
    peft,
    product,
    save,
)
from tests.families.pictures import TASK, assert_alike, draw, resolve
from tests.families.tiny_pipelines import Shelf

LIKE = torch.empty(0)
SCALE = 0.7


def some(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.3


def linear(outputs: int = 6, *, seed: int = 5) -> torch.nn.Linear:
    module = torch.nn.Linear(8, outputs)
    module.weight.data, module.bias.data = some(outputs, 8, seed=seed), some(outputs, seed=seed + 1)
    return module


def convolution() -> torch.nn.Conv2d:
    module = torch.nn.Conv2d(8, 6, 3, padding=1, stride=2)
    module.weight.data, module.bias.data = some(6, 8, 3, 3, seed=5), some(6, seed=6)
    return module


def brought_to(weight: torch.Tensor, lengths: torch.Tensor, by_columns: bool) -> torch.Tensor:
    """Each row of a weight [out, in, …], or each column, in the length that is wanted."""
    across = [axis for axis in range(weight.ndim) if axis != int(by_columns)]
    norms = weight.square().sum(across, keepdim=True).sqrt()
    return weight * (lengths.reshape(norms.shape) / norms)


def stand_in(module: Any, parts: Mapping[str, Any], strength: float) -> Any:
    shape = shape_of(module)
    assert shape is not None
    part = Part(module, shape, Place(slice(0, shape.outputs), shape.outputs), LIKE)
    found = scaled_additions(parts, [part], SCALE, strength)
    assert found is not None
    return adapted(module, found[0], torch.float32)


LORA = {"down": some(2, 8, seed=2), "up": some(6, 2, seed=3)}
TUCKER = {"down": some(2, 8), "mid": some(2, 2, 3, 3, seed=2), "up": some(6, 2, seed=3)}
CORE = {**LORA, "mid": some(2, 2, seed=4)}
LOHA = {
    f"hada_w{i}_{x}": some(*(6, 2) if x == "a" else (2, 8), seed=i) for i in (1, 2) for x in "ab"
}
LOKR = {"lokr_w1": some(2, 4), "lokr_w2": some(3, 2, 3, 3, seed=2)}
CONV = {"down": some(2, 8, 3, 3, seed=2), "up": some(6, 2, 1, 1, seed=3)}


@pytest.mark.parametrize("strength", [1.0, 0.4, -0.5])
@pytest.mark.parametrize(
    ("module", "parts", "difference"),
    [
        (linear(), LORA, LORA["up"] @ LORA["down"]),
        (linear(), CORE, CORE["up"] @ CORE["mid"] @ CORE["down"]),
        (
            linear(),
            LOHA,
            (LOHA["hada_w1_a"] @ LOHA["hada_w1_b"]) * (LOHA["hada_w2_a"] @ LOHA["hada_w2_b"]),
        ),
        (convolution(), CONV, torch.einsum("or,rikl->oikl", CONV["up"][..., 0, 0], CONV["down"])),
        (
            convolution(),
            TUCKER,
            torch.einsum("or,rskl,si->oikl", TUCKER["up"], TUCKER["mid"], TUCKER["down"]),
        ),
        (convolution(), LOKR, torch.kron(LOKR["lokr_w1"][:, :, None, None], LOKR["lokr_w2"])),
    ],
    ids=["lora", "core", "loha", "convolution", "tucker", "lokr"],
)
def test_a_layer_gives_what_its_rescaled_weight_would(module, parts, difference, strength):
    ones = (1,) * (module.weight.ndim - 2)
    given = some(3, 8, *(5 for _ in ones), seed=9)
    for name, size, by_columns in (
        ("dora_scale", (6, 1, *ones), False),
        ("dora_scale", (1, 8, *ones), True),
        ("magnitude", (1, 6, *ones) if ones else (6,), False),
    ):
        lengths = some(*size, seed=8).abs() + 0.5
        whole = copy.deepcopy(module)
        wanted = brought_to(module.weight + SCALE * difference, lengths, by_columns)
        whole.weight.data += strength * (wanted - module.weight)
        found = stand_in(module, {**parts, name: lengths}, strength)(given)
        assert torch.allclose(found, whole(given), atol=1e-5), name


def test_no_strength_is_the_layer_itself():
    module, given = linear(), some(3, 8)
    parts = {**LORA, "dora_scale": some(6, 1).abs() + 1}
    assert torch.equal(stand_in(module, parts, 0.0)(given), module(given))


@pytest.mark.parametrize("by_columns", [False, True])
def test_a_layer_that_is_several_modules_has_one_length_for_each_row_or_column(by_columns):
    modules = [linear(6, seed=5), linear(4, seed=15)]
    parts = {"down": some(2, 8), "up": some(10, 2, seed=2)}
    parts["dora_scale"] = some(*((1, 8) if by_columns else (10, 1)), seed=3).abs() + 0.5
    whole = torch.cat([module.weight.data for module in modules])
    wanted = brought_to(
        whole + SCALE * parts["up"] @ parts["down"], parts["dora_scale"], by_columns
    )
    places = [Place(slice(0, 6), 10), Place(slice(6, 10), 10)]
    shapes = [shape_of(module) for module in modules]
    found = scaled_additions(
        parts,
        [Part(m, s, p, LIKE) for m, s, p in zip(modules, shapes, places, strict=True) if s],
        SCALE,
        1.0,
    )
    assert found is not None
    given = some(3, 8, seed=4)
    for module, additions, rows in zip(modules, found, wanted.split((6, 4)), strict=True):
        ours = adapted(module, additions, torch.float32)(given)
        assert torch.allclose(ours, given @ rows.T + module.bias, atol=1e-5)


@pytest.mark.parametrize("by_columns", [False, True])
def test_a_large_layer_that_is_looked_at_in_pieces_is_the_same(by_columns):
    module = torch.nn.Linear(1024, 1500, bias=False)
    module.weight.data = some(1500, 1024, seed=5)
    parts = {"down": some(2, 1024), "up": some(1510, 2, seed=2)}
    parts["dora_scale"] = some(*((1, 1024) if by_columns else (1510, 1)), seed=3).abs() + 9
    rows, shape = slice(10, 1510), shape_of(module)
    assert shape is not None
    found = scaled_additions(parts, [Part(module, shape, Place(rows, 1510), LIKE)], SCALE, 1.0)
    assert found is not None
    whole = module.weight + SCALE * parts["up"][rows] @ parts["down"]
    lengths = parts["dora_scale"] if by_columns else parts["dora_scale"][rows]
    given = some(2, 1024, seed=4)
    ours = adapted(module, found[0], torch.float32)(given)
    assert torch.allclose(ours, given @ brought_to(whole, lengths, by_columns).T, atol=1e-3)


class Quantised(torch.nn.Module):
    """A linear layer whose weight is kept as whole numbers, as bitsandbytes keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.out_features, self.in_features, self.bias = 6, 8, None
        self.weight = torch.nn.Parameter((some(6, 8) * 100).to(torch.int8), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (self.weight.float() / 100).T


def test_the_weight_of_a_quantised_layer_is_the_one_it_works_with():
    module, given = Quantised(), some(3, 8, seed=9)
    lengths = some(6, 1, seed=8).abs() + 0.5
    weight = module.weight.float() / 100
    wanted = brought_to(weight + SCALE * LORA["up"] @ LORA["down"], lengths, False)
    found = stand_in(module, {**LORA, "dora_scale": lengths}, 1.0)(given)
    assert torch.allclose(found, given @ wanted.T, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("dora_scale", (5, 1)),
        ("dora_scale", (1, 7)),
        ("dora_scale", (6, 2)),
        ("dora_scale", ()),
        ("magnitude", (8,)),
        ("magnitude", (1, 8)),
    ],
)
def test_lengths_of_another_number_are_refused(name, size):
    shape = shape_of(linear())
    assert shape is not None
    part = Part(linear(), shape, Place(slice(0, 6), 6), LIKE)
    assert scaled_additions({**LORA, name: torch.ones(size)}, [part], 1.0, 1.0) is None


def test_lengths_without_a_difference_to_the_weight_are_refused():
    shape = shape_of(linear())
    assert shape is not None
    part = Part(linear(), shape, Place(slice(0, 6), 6), LIKE)
    parts = {"dora_scale": torch.ones(6, 1), "diff_b": torch.ones(6)}
    assert scaled_additions(parts, [part], 1.0, 1.0) is None
    whole = scaled_additions({**LORA, **parts}, [part], 1.0, 0.5)
    assert whole is not None
    bias = whole[0][1](torch.zeros(1, 8), torch.zeros(1, 6))
    assert torch.equal(bias, torch.full((6,), 0.5))


def lengths_for(pipeline: Any, layer: Layer, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Lengths for the rows of a layer of a pipeline, and the weight that it comes to with them."""
    weight = getattr(pipeline, layer.component).get_submodule(layer.name).weight.data
    changed = weight + product(layer).reshape(weight.shape) * alpha / RANK
    lengths = changed.flatten(1).norm(dim=1) * (1 + some(len(weight), seed=4).abs())
    return lengths, brought_to(changed, lengths, by_columns=False)


def is_text(name: str) -> bool:
    return "layers" in name


def test_a_dora_of_kohya_draws_as_if_merged_and_leaves_nothing(
    bundle: Any, tiny_sd: Path, tmp_path: Path
) -> None:
    chosen = [
        *layers(bundle.pipeline, "unet", lambda name: attention(name) or "resnets" in name),
        *layers(bundle.pipeline, "text_encoder", is_text),
    ]
    changed = copy.deepcopy(bundle)
    tensors: dict[str, Any] = {}
    for layer in chosen:
        lengths, weight = lengths_for(bundle.pipeline, layer, 2.0)
        own = kohya(layer, alpha=2.0)
        key = next(iter(own)).partition(".")[0]
        tensors |= own | {f"{key}.dora_scale": lengths.reshape(-1, *(1,) * (weight.ndim - 1))}
        module = getattr(changed.pipeline, layer.component).get_submodule(layer.name)
        module.weight.data = weight
    lora = save(tmp_path / "a.safetensors", tensors)
    (before,) = draw(bundle, tiny_sd, seed=5)
    asked = resolve(tiny_sd, seed=5, loras=[{"model": lora.name}])
    (output,) = TASK.run(bundle, asked, ContextWith(tiny_sd, lora))
    assert_alike(np.asarray(output.value), draw(changed, tiny_sd, seed=5)[0])
    assert not np.array_equal(np.asarray(output.value), before)
    assert np.array_equal(draw(bundle, tiny_sd, seed=5)[0], before)


@pytest.mark.parametrize(
    ("kind", "component"), [("sdxl", "unet"), ("sd3", "transformer"), ("flux", "transformer")]
)
def test_a_dora_as_pipelines_save_it_is_taken_by_every_kind(
    shelf: Shelf, tmp_path: Path, kind: str, component: str
) -> None:
    pipeline, place = shelf.bundle(kind).pipeline, shelf.path(kind)
    chosen = [
        *list(layers(pipeline, component, attention))[:6],
        *list(layers(pipeline, "text_encoder", is_text))[:2],
    ]
    tensors, wanted = {}, {}
    for layer in chosen:
        lengths, wanted[layer] = lengths_for(pipeline, layer, RANK)
        own = peft(layer)
        key = next(iter(own)).removesuffix(".lora_A.weight")
        tensors |= own | {f"{key}.lora_magnitude_vector": lengths}
    lora = save(tmp_path / "a.safetensors", tensors)
    recipe = Recipe("text-to-image", 64, 64, 2, 5.0, loras=(Adapter(f"lora:{lora.name}"),))
    before = {x: getattr(pipeline, x.component).get_submodule(x.name) for x in chosen}
    with applied(shelf.bundle(kind), recipe, ContextWith(place, lora)), torch.no_grad():
        for layer, module in before.items():
            ours = getattr(pipeline, layer.component).get_submodule(layer.name)
            whole = copy.deepcopy(module)
            whole.weight.data = wanted[layer]
            given = some(2, module.in_features)
            assert torch.allclose(ours(given), whole(given), atol=1e-4), layer.name
    for layer, module in before.items():
        assert getattr(pipeline, layer.component).get_submodule(layer.name) is module
