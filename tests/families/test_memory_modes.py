"""Weights that share memory in other ways draw the same pictures; numbers that are none do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from onebox.core.contracts import Device
from onebox.core.errors import InferenceFailed, ModelBroken
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.registry.on_disk import open_on_disk
from tests.families.pictures import FAMILY, TASK, Context, device, draw, entry, resolve


def other_memory() -> Device:
    """A CPU that takes itself for a card, so that weights may lie elsewhere."""
    return msgspec.structs.replace(device(), pool="card")


def loaded(folder: Path, where: Device | None = None, **overrides: Any) -> PipelineBundle:
    return FAMILY.load(entry(folder, **overrides), where or device())


@pytest.mark.parametrize("mode", ["cpu_offload", "sequential_offload"])
def test_offloaded_weights_draw_the_same_picture_again_and_again(
    bundle: PipelineBundle, tiny_sd: Path, mode: str
) -> None:
    offloaded = loaded(tiny_sd, other_memory(), memory=[mode])
    (usual,) = draw(bundle, tiny_sd, seed=3)
    for _ in range(2):
        assert np.array_equal(draw(offloaded, tiny_sd, seed=3)[0], usual)
    assert 0 < offloaded.size_bytes < bundle.size_bytes
    offloaded.close()


def test_slices_of_attention_draw_the_same_picture_but_for_rounding(
    bundle: PipelineBundle, tiny_sd: Path
) -> None:
    sliced = loaded(tiny_sd, memory=["attention_slicing", "vae_slicing"])
    assert sliced.pipeline.vae.use_slicing
    difference = draw(sliced, tiny_sd, seed=3)[0].astype(int) - draw(bundle, tiny_sd, seed=3)[0]
    assert np.abs(difference).max() <= 2


def test_asked_for_tiles_stay_after_a_lean_run(tiny_sd: Path) -> None:
    tiled = loaded(tiny_sd, memory=["vae_tiling"])
    TASK.run(tiled, resolve(tiny_sd, seed=1), Context(tiny_sd, lean=True))
    assert tiled.pipeline.vae.use_tiling
    assert not tiled.pipeline.vae.use_slicing


def test_a_denoiser_in_eight_bits_takes_less_and_draws_nearly_the_same(
    bundle: PipelineBundle, tiny_sd: Path
) -> None:
    small = loaded(tiny_sd, quantization="fp8")
    assert small.size_bytes < bundle.size_bytes
    estimated = FAMILY.estimate(with_settings(tiny_sd, quantization="fp8"), device())
    assert abs(estimated - small.size_bytes) < 0.2 * small.size_bytes
    difference = draw(small, tiny_sd, seed=3)[0].astype(int) - draw(bundle, tiny_sd, seed=3)[0]
    assert 0 < np.abs(difference).mean() < 20


def with_settings(folder: Path, **overrides: Any) -> Any:
    on_disk = open_on_disk(folder)
    on_disk.overrides = overrides
    return on_disk


def test_a_quantization_of_cuda_is_refused_without_it(tiny_sd: Path) -> None:
    with pytest.raises(ModelBroken, match="needs CUDA"):
        loaded(tiny_sd, quantization="4bit")


def test_half_precision_that_overflows_is_drawn_again_in_full_precision(tiny_sd: Path) -> None:
    half = FAMILY.load(entry(tiny_sd), device("bfloat16", "bfloat16"))
    spoil(half, only="bfloat16")
    output = TASK.run(half, resolve(tiny_sd, seed=3), Context(tiny_sd))[0]
    assert np.asarray(output.value).any()
    dtypes = {str(p.dtype) for p in half.pipeline.unet.parameters()}
    assert dtypes == {"torch.bfloat16"}


def test_numbers_that_are_none_in_any_precision_are_an_error(tiny_sd: Path) -> None:
    half = FAMILY.load(entry(tiny_sd), device("bfloat16", "bfloat16"))
    spoil(half, only=None)
    with pytest.raises(InferenceFailed, match="no numbers"):
        TASK.run(half, resolve(tiny_sd, seed=3), Context(tiny_sd))


def spoil(bundle: PipelineBundle, only: str | None) -> None:
    """Let the decoder give what is no number, in one dtype or in all."""

    def overflow(module: Any, inputs: Any, output: Any) -> Any:
        spoiled = only is None or str(module.weight.dtype) == f"torch.{only}"
        return output * float("nan") if spoiled else output

    bundle.pipeline.vae.decoder.conv_out.register_forward_hook(overflow)
