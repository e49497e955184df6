"""Tiles that are drawn by themselves, out of parts of one noise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from onebox.imaging.diffusion import drawing as drawings
from onebox.imaging.diffusion.recipe import Picture, Recipe, Spot
from onebox.imaging.diffusion.shared_noise import share_noise
from onebox.tasks import upscale as upscaling
from onebox.tasks.upscale import Upscale
from tests.families import drawing
from tests.families.tiny_pipelines import Shelf

TASK = Upscale()
RECIPE = Recipe("image-to-image", 64, 64, 4, 1.0)


def noises(*spots: Spot | None, shape: tuple[int, ...] = (4, 8, 8)) -> Any:
    """What a scheduler is given of latents of this shape, one picture a spot."""
    scheduler = SimpleNamespace(scale_noise=lambda sample, timestep, noise: noise)
    share_noise(scheduler, [Picture("", None, 1, spot=spot) for spot in spots], RECIPE)
    own = torch.full((len(spots), *shape), 7.0)
    return scheduler.scale_noise(own, 1, own)


@pytest.mark.parametrize("shape", [(4, 8, 8), (1, 16, 8, 8)])
def test_where_tiles_overlap_they_begin_with_the_same_noise(shape: tuple[int, ...]) -> None:
    spots = [Spot(corner, (160, 96), 5) for corner in ((0, 0), (48, 32), (96, 32))]
    first, second, third = noises(*spots, shape=shape)
    assert torch.equal(first[..., 4:, 6:], second[..., :4, :2])
    assert torch.equal(second[..., 6:], third[..., :2])
    assert not torch.equal(first, second)
    assert abs(float(first.std()) - 1) < 0.2


def test_pictures_of_other_seeds_have_other_noise() -> None:
    one, other = noises(*[Spot((0, 0), (160, 96), seed) for seed in (5, 6)])
    assert not torch.equal(one, other)


def test_what_is_no_tile_has_the_noise_of_its_own_seed() -> None:
    assert (noises(None) == 7).all()


def test_neighbouring_tiles_draw_nearly_the_same(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upscaling, "_most", lambda entry: 64)
    image = drawing.media(drawing.noise(1, (56, 32)))
    joined = upscaling.joined

    def difference() -> float:
        """Of two tiles where they overlap, mean over their values."""
        seen: list[Any] = []

        def noted(tiles: Any, places: Any, size: Any) -> Any:
            seen.extend(zip(tiles, places, strict=True))
            return joined(tiles, places, size)

        monkeypatch.setattr(upscaling, "joined", noted)
        fields = {"prompt": "", "image": image, "steps": 6, "strength": 0.5}
        (drawn,) = drawing.run(TASK, shelf.bundle("flux"), shelf.path("flux"), **fields)
        assert drawn.shape == (64, 112, 3)
        (first, _), (second, (left, _)) = ((np.asarray(t, float), place) for t, place in seen)
        return float(np.abs(first[:, left:] - second[:, : 64 - left]).mean())

    alike = difference()
    monkeypatch.setattr(drawings, "share_noise", lambda *given: None)
    assert alike < 0.8 * difference()
