"""A denoiser that looks at parts of large latents, and that no part is to be told from the next."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from onebox.imaging.diffusion.tiled_denoiser import look_at_parts
from onebox.tasks.upscale import Upscale
from tests.families import drawing
from tests.families.pictures import device
from tests.families.tiny_pipelines import Shelf

TASK = Upscale()


class Denoiser:
    """Says of each latent itself plus what `tell` gives for its part; notes how it was asked."""

    def __init__(self, tell: Any = lambda parts, hint: 0.0) -> None:
        self.tell = tell
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, parts: Any, step: Any, hint: Any, *, return_dict: bool) -> Any:
        self.asked.append(tuple(parts.shape))
        assert len(hint) == len(parts)
        return (parts + self.tell(parts, hint),)


def tiled(denoiser: Denoiser, *, lean: bool = False) -> Any:
    """The denoiser that looks at parts of 8 latents a side."""
    view = SimpleNamespace(unet=denoiser, vae_scale_factor=8)
    look_at_parts(view, 64, device(), lean=lean)
    return view.unet


@pytest.mark.parametrize("size", [(8, 20), (21, 13), (6, 30), (33, 8)])
@pytest.mark.parametrize("lean", [True, False])
def test_the_parts_cover_the_whole_and_are_put_where_they_were(
    size: tuple[int, int], lean: bool
) -> None:
    latents = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(1))
    said = tiled(Denoiser(), lean=lean)(latents, 1, torch.zeros(2, 3), return_dict=False)[0]
    torch.testing.assert_close(said, latents)


def test_each_part_is_told_what_its_own_picture_is_to_be() -> None:
    denoiser = Denoiser(lambda parts, hint: hint[:, :1, None, None])
    hint = torch.tensor([[10.0], [20.0]])
    said = tiled(denoiser)(torch.zeros(2, 4, 8, 40), 1, hint, return_dict=False)[0]
    assert torch.allclose(said[0], torch.tensor(10.0))
    assert torch.allclose(said[1], torch.tensor(20.0))


def test_several_parts_are_asked_at_once_and_one_where_memory_is_short() -> None:
    latents, hint = torch.zeros(2, 4, 8, 40), torch.zeros(2, 1)
    for lean, most in ((False, 8), (True, 2)):
        denoiser = Denoiser()
        tiled(denoiser, lean=lean)(latents, 1, hint, return_dict=False)
        assert max(shape[0] for shape in denoiser.asked) == most


def test_parts_that_say_different_things_pass_into_each_other() -> None:
    denoiser = Denoiser(lambda parts, hint: float(len(denoiser.asked)))
    # Nine parts of 8 latents that share two, and differ by 1.
    said = tiled(denoiser, lean=True)(torch.zeros(1, 1, 8, 56), 1, torch.zeros(1, 1))
    row = said.sample[0, 0, 0]
    assert (row[0], row[-1]) == (1, 9)
    assert row.diff().max() < 0.9


def contrast_where_tiles_meet(pictures: list[np.ndarray]) -> float:
    """The energy of the gradient across the rims of tiles, as a share of that elsewhere.

    Of pictures 112 pixels wide in tiles of 64 that share 16: where two drawings that know nothing
    of each other are laid over one another, contrast is lost.
    """
    columns = np.mean(
        [np.square(np.diff(p.astype(float), axis=1)).mean(axis=(0, 2)) for p in pictures], axis=0
    )
    return float(columns[52:60].mean() / np.r_[columns[8:44], columns[68:104]].mean())


def test_a_large_picture_keeps_its_contrast_where_tiles_meet(shelf: Shelf) -> None:
    image = drawing.media(drawing.noise(1, (56, 24)))
    fields = {"prompt": "", "image": image, "steps": 6, "strength": 0.5, "n": 4}
    drawn = drawing.run(TASK, shelf.bundle("sd"), shelf.path("sd"), **fields)
    # Tiles that were drawn to the end by themselves came to 0.68.
    assert contrast_where_tiles_meet(drawn) > 0.75
