"""An urgent run between two steps of another one, on the same weights: neither sees the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.imaging.diffusion.drawing import draw
from onebox.imaging.diffusion.recipe import Adapter, Picture, Recipe
from tests.families import tiny_image_prompts as tiny
from tests.families.adapter_files import ContextWith, attention, entry_of, kohya, layers, save
from tests.families.pictures import FAMILY, device, entry

PLAIN = Recipe("text-to-image", 64, 64, 3, 5.0)


class Interrupted(ContextWith):
    """A context between whose steps another run is done, at the second one."""

    def __init__(self, folder: Path, between: Callable[[], Any]) -> None:
        super().__init__(folder)
        self.between = between
        self.drawn: Any = None

    def step(self, step: int, steps: int) -> None:
        super().step(step, steps)
        if step == 2:
            self.drawn = self.between()


@pytest.fixture(scope="module")
def files(bundle: PipelineBundle, tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    chosen = [
        *layers(bundle.pipeline, "unet", attention),
        *layers(bundle.pipeline, "text_encoder", lambda name: "mlp" in name),
    ]
    for name, alpha in (("one", 2.0), ("two", 3.0)):
        tensors = {key: value for layer in chosen for key, value in kohya(layer, alpha).items()}
        save(folder / f"{name}.safetensors", tensors)
        save_file({"emb_params": torch.randn(2, 32)}, folder / f"{name}-word.safetensors")
    tiny.image_encoder(folder / "encoder")
    tiny.ip_adapter(folder / "ip.safetensors")
    return folder


def recipes(files: Path) -> tuple[dict[str, Recipe], dict[str, Any]]:
    """By name, and the companions of all of them."""
    companions = tiny.companions(files / "ip.safetensors", files / "encoder")
    found = {"plain": PLAIN, "pictured": replace(PLAIN, image_prompt=1.0)}
    for name in ("one", "two"):
        lora, word = files / f"{name}.safetensors", files / f"{name}-word.safetensors"
        companions |= {f"lora:{name}": entry_of(lora), f"word:{name}": entry_of(word)}
        inversion = Adapter(f"word:{name}", token="coat")
        found[name] = replace(
            PLAIN, loras=(Adapter(f"lora:{name}"),), textual_inversions=(inversion,)
        )
    return found, companions


def drawn(bundle: PipelineBundle, recipe: Recipe, context: Any, companions: Any) -> np.ndarray:
    context.companions = companions
    references = (tiny.picture(1),) if recipe.image_prompt else ()
    picture = Picture("a coat", None, 4, references=references)
    (image,) = draw(bundle, [picture], recipe, 1, context)
    return np.asarray(image)


@pytest.mark.parametrize("outer", ["one", "pictured"])
@pytest.mark.parametrize("inner", ["plain", "one", "two", "pictured"])
def test_a_run_within_another_one_draws_as_if_alone_and_so_does_the_other(
    bundle: PipelineBundle, tiny_sd: Path, files: Path, outer: str, inner: str
) -> None:
    found, companions = recipes(files)

    def alone(name: str) -> np.ndarray:
        return drawn(bundle, found[name], ContextWith(tiny_sd), companions)

    wanted = {name: alone(name) for name in (outer, inner)}
    context = Interrupted(tiny_sd, lambda: alone(inner))
    assert np.array_equal(drawn(bundle, found[outer], context, companions), wanted[outer])
    assert np.array_equal(context.drawn, wanted[inner])
    assert np.array_equal(alone("plain"), drawn(bundle, PLAIN, ContextWith(tiny_sd), {}))


def test_one_within_a_run_in_full_precision_draws_in_its_own(tiny_sd: Path) -> None:
    half = FAMILY.load(entry(tiny_sd), device("bfloat16", "bfloat16"))
    assert isinstance(half, PipelineBundle)
    alone = drawn(half, PLAIN, ContextWith(tiny_sd), {})
    context = Interrupted(tiny_sd, lambda: drawn(half, PLAIN, ContextWith(tiny_sd), {}))
    calls = []

    def spoilt_once(module: Any, inputs: Any, output: Any) -> Any:
        calls.append(1)
        return output * float("nan") if len(calls) == 2 else output

    half.pipeline.vae.decoder.conv_out.register_forward_hook(spoilt_once)
    again = drawn(half, PLAIN, context, {})
    assert not np.array_equal(again, alone)  # in full precision
    assert np.array_equal(context.drawn, alone)
    assert {str(p.dtype) for p in half.pipeline.unet.parameters()} == {"torch.bfloat16"}
