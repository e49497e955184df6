"""What pictures look like while they are drawn: at the first step, and spread over the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from onebox.core.contracts import Entry, RunContext
from onebox.core.results import Output
from onebox.imaging.diffusion.clean_latents import Belief
from onebox.imaging.diffusion.latent_colours import (
    fit_colours,
    normalisation_undone,
    pixels_per_latent,
    unpacked,
)
from onebox.imaging.diffusion.recipe import Picture, Recipe
from onebox.imaging.diffusion.tiny_decoders import load_decoder

log = structlog.get_logger(__name__)

SLOT = "preview"
# What makes pictures [n, 3, h, w] between 0 and 1 of latents [n, c, h, w].
Paint = Callable[[Any], Any]


def create_previews(
    bundle: Any,
    view: Any,
    pictures: Sequence[Picture],
    recipe: Recipe,
    context: RunContext,
    shown: Callable[[Any], Any] | None = None,
) -> Callable[[int, int, Any], None] | None:
    """What is to be told of each step: its number from 1, how many there are, and the latents.

    None when nobody wants to see anything. `shown` picks out of all latents those of a picture
    each, where there are more.
    """
    vae = getattr(view, "vae", None)
    if vae is None or not any(picture.previews for picture in pictures):
        return None
    paint = _painter(bundle, view, context)
    return _Previews(view, pictures, recipe, paint, context, shown or _all).show


def preview_steps(previews: int, steps: int) -> frozenset[int]:
    """The steps, from 1, after which so many previews are shown: fewer if there are fewer steps."""
    return frozenset(1 + number * steps // previews for number in range(previews))


class _Previews:
    """Of one call. The scheduler is listened to from the start: see `Belief`."""

    def __init__(
        self,
        view: Any,
        pictures: Sequence[Picture],
        recipe: Recipe,
        paint: Paint,
        context: RunContext,
        shown: Callable[[Any], Any],
    ) -> None:
        self._shown = shown
        self._belief = Belief(view.scheduler)
        self._vae = view.vae
        self._pixels = pixels_per_latent(view.vae)
        self._pictures = pictures
        self._recipe = recipe
        self._paint = paint
        self._context = context

    def show(self, step: int, steps: int, latents: Any) -> None:
        wanted = [
            number
            for number, picture in enumerate(self._pictures)
            if picture.previews and step in preview_steps(picture.previews, steps)
        ]
        if not wanted:
            return
        believed = self._shown(self._belief.latents(latents))[wanted]
        clean = normalisation_undone(self._vae, believed)
        grid = unpacked(clean, self._recipe.width, self._recipe.height, self._pixels)
        size = (self._recipe.width, self._recipe.height)
        for number, pixels in zip(wanted, _as_bytes(self._paint(grid)), strict=True):
            picture = self._pictures[number]
            options = {"format": picture.preview_format, "quality": 90, "size": size}
            output = Output("preview", pixels, options=options)
            self._context.preview(picture.owner, picture.index, output)


def _all(latents: Any) -> Any:
    return latents


def _as_bytes(colours: Any) -> list[Any]:
    """Arrays [h, w, 3] of uint8 for pictures [n, 3, h, w] between 0 and 1."""
    import torch

    whole = torch.nan_to_num(colours).clamp(0, 1).mul(255).round().to(torch.uint8)
    return list(whole.movedim(1, -1).cpu().numpy())


def _painter(bundle: Any, view: Any, context: RunContext) -> Paint:
    """A small decoder if one came along, else colours; kept with the weights they belong to."""
    decoder = context.companions.get(SLOT)
    key = f"preview:{decoder.key}" if decoder else "preview"
    if key not in bundle.kept:
        paint = None if decoder is None else _decoder(decoder, view)
        bundle.kept[key] = paint or fit_colours(view.vae, view._execution_device).paint
    kept: Paint = bundle.kept[key]
    return kept


def _decoder(decoder: Entry, view: Any) -> Paint | None:
    """None for one that cannot be loaded: nobody named it, so it is to spoil no request."""
    try:
        module = load_decoder(Path(decoder.path), view._execution_device, view.vae.dtype)
    except Exception as error:  # a file can be wrong in every way that the libraries have
        log.warning("preview_decoder_failed", model=decoder.name, reason=type(error).__name__)
        return None
    return _decoding(module)


def _decoding(decoder: Any) -> Paint:
    """Decodes one picture after the other, in the decoder's own dtype."""
    import torch

    weight = next(decoder.parameters())

    def paint(latents: Any) -> Any:
        given = latents.to(weight.dtype).split(1)
        return torch.cat([decoder(one) for one in given]).float() / 2 + 0.5

    return paint
