"""Tiles of one picture that are drawn by themselves begin with parts of one noise: where they
overlap, they begin alike, and so draw nearly the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onebox.hardware.picture_rules import GENERATOR_DEVICE
from onebox.imaging.diffusion.recipe import Picture, Recipe, Spot


def share_noise(scheduler: Any, pictures: Sequence[Picture], recipe: Recipe) -> None:
    """Let a scheduler of flow matching, one of a single call, give each tile its part of the noise
    that goes for the whole.

    Pipelines mix picture and noise by its `scale_noise`, with latents [n, …, h, w].
    """
    spots = [picture.spot for picture in pictures]
    if None in spots:
        return
    scale_noise = scheduler.scale_noise

    def scale_shared_noise(sample: Any, timestep: Any, noise: Any) -> Any:
        import torch

        parts = [_part(spot, noise.shape[1:], recipe) for spot in spots if spot is not None]
        return scale_noise(sample, timestep, torch.stack(parts).to(noise))

    scheduler.scale_noise = scale_shared_noise


def _part(spot: Spot, shape: Sequence[int], recipe: Recipe) -> Any:
    """The tile's part of the noise, of the shape of its latents."""
    import torch

    *channels, height, width = shape
    across, down = recipe.width // width, recipe.height // height
    whole = spot.whole[1] // down, spot.whole[0] // across
    generator = torch.Generator(GENERATOR_DEVICE).manual_seed(spot.seed)
    noise = torch.randn(*channels, *whole, generator=generator)
    left, top = spot.corner[0] // across, spot.corner[1] // down
    return noise[..., top : top + height, left : left + width]
