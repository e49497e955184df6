"""Task `upscale`: a picture made larger, with detail drawn into it.

By a model made for it, or by any that draws on from pictures; in tiles, so that memory is no limit.
Where the latents are laid out as the picture is, the denoiser looks at tiles of them at each step;
other models draw each tile by itself.

curl -s localhost:8000/v1/tasks/upscale -H "Authorization: Bearer $KEY" \\
     -F model=onebox-shapes -F image=@circle.png -H 'Accept: image/png' -o large.png
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from onebox.core.contracts import Device, Entry, RunContext, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.core.seeds import seed_of
from onebox.imaging.diffusion.abilities import (
    IMAGE,
    IN_ROWS,
    UPSCALE,
    UPSCALE_FACTORS,
    kind_of,
)
from onebox.imaging.diffusion.drawing import draw
from onebox.imaging.diffusion.recipe import Picture, Recipe, Spot
from onebox.imaging.diffusion.sizes import Size
from onebox.imaging.opening import open_picture
from onebox.imaging.tiles import corners, cut, joined
from onebox.tasks.picture_input import MAX_PROMPT, PictureInput
from onebox.tasks.picture_recipe import (
    modes,
    multiple,
    pictures_of,
    recipe_of,
    require_answer,
    require_steps,
    size_of,
    stretched,
)
from onebox.tasks.picture_task import FALLBACK_SIZE, PictureTask

DEFAULT_SCALE = 2.0
# Enough for detail, too little for another picture.
DEFAULT_STRENGTH = 0.3
MAX_PIXELS = 4096 * 4096
# Side of a tile that a model made for this is given, in pixels.
TILE = 256
# Of a tile's side that is drawn by itself, what it shares with the next.
OVERLAP = 1 / 4
# What the picture, its latents and the result take of the result's size.
BYTES_PER_PIXEL = 48
# The class that takes a noise level.
NOISED = "StableDiffusionUpscalePipeline"
# They begin with parts of one noise; what else is chance is each tile's own, or all would show the
# same grain.
SEEDS_BETWEEN_TILES = 1_000


class UpscaleInput(PictureInput):
    """The picture; a prompt only says what is on it."""

    prompt: str = Field("", max_length=MAX_PROMPT)
    image: MediaRef = Field(description="PNG, JPEG or WebP.")
    scale: float | None = Field(
        None,
        gt=1,
        le=4,
        allow_inf_nan=False,
        description="Times each side; a model made for one factor has that.",
    )
    strength: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="How much is drawn anew, by a model that draws on from pictures.",
    )
    noise_level: int | None = Field(
        None, ge=0, le=350, description="How little a x4 upscaler trusts the picture."
    )
    source: tuple[int, int] | None = Field(
        None, description="Found out: the picture's width and height in pixels."
    )


class Upscale(PictureTask[UpscaleInput]):
    name = "upscale"
    summary = "Make a picture larger, with detail drawn into it"
    Input = UpscaleInput

    def resolve(self, request: UpscaleInput, entry: Entry, defaults: TaskDefaults) -> UpscaleInput:
        factor = _factor(entry)
        update: dict[str, Any] = {"source": size_of(request.image, "image")}
        if request.scale is None:
            update["scale"] = float(factor or DEFAULT_SCALE)
        if request.strength is None and factor is None:
            update["strength"] = DEFAULT_STRENGTH
        return super().resolve(request, entry, defaults).model_copy(update=update)

    def check(self, request: UpscaleInput, entry: Entry) -> None:
        super().check(request, entry)
        width, height = _result(request)
        if width * height > MAX_PIXELS:
            raise InvalidInput(
                f"the result would have {width}x{height} pixels, more than {MAX_PIXELS}; send a "
                "smaller picture",
                param="image",
                details={"width": width, "height": height, "max_pixels": MAX_PIXELS},
            )
        require_answer(request, (width, height))
        _require_fields(request, entry)
        require_steps(request, request.strength)

    def recipe(self, request: UpscaleInput, entry: Entry) -> Recipe:
        factor = _factor(entry)
        if not _is_whole(entry):
            return recipe_of(request, IMAGE, _tile(request, entry), strength=request.strength)
        width, height = (side * (factor or 1) for side in _ground(request, entry))
        noise = () if request.noise_level is None else (("noise_level", request.noise_level),)
        recipe = recipe_of(
            request,
            IMAGE if factor is None else UPSCALE,
            (width, height),
            strength=request.strength,
            extra=noise,
        )
        most = _most(entry) * (factor or 1)
        return replace(recipe, tile=most if max(width, height) > most else None)

    def batch_key(self, request: UpscaleInput, entry: Entry) -> Hashable | None:
        return None

    def pictures(
        self, request: UpscaleInput, recipe: Recipe, owner: int, context: RunContext
    ) -> list[Picture]:
        opened = open_picture(context.read(request.image), "image")
        ground = stretched(opened, _ground(request, context.entry))
        return pictures_of(request, owner, image=ground)

    def drawn(
        self,
        bundle: Any,
        pictures: Sequence[Picture],
        request: UpscaleInput,
        recipe: Recipe,
        context: RunContext,
    ) -> list[Any]:
        if _is_whole(context.entry):
            if recipe.tile is None:
                return super().drawn(bundle, pictures, request, recipe, context)
            # To show it half made could take more memory than a part of it does.
            unseen = [replace(picture, previews=0) for picture in pictures]
            return draw(bundle, unseen, recipe, 1, context)
        size, tile = pictures[0].image.size, (recipe.width, recipe.height)
        places = _places(size, tile, context.entry)
        tiles = [
            replace(
                picture,
                image=cut(picture.image, place, tile),
                seed=seed_of(picture.seed, number * SEEDS_BETWEEN_TILES),
                spot=Spot(place, size, picture.seed),
                # Of tiles there is nothing to be seen before they are joined.
                previews=picture.previews if len(places) == 1 else 0,
            )
            for picture in pictures
            for number, place in enumerate(places)
        ]
        drawn = super().drawn(bundle, tiles, request, recipe, context)
        count = len(places)
        return [
            joined(drawn[number * count : (number + 1) * count], places, size)
            for number in range(len(pictures))
        ]

    def finished(
        self, image: Any, request: UpscaleInput, picture: Picture, context: RunContext
    ) -> Any:
        return stretched(image, _result(request))

    def reserve_bytes(self, request: UpscaleInput, entry: Entry, device: Device) -> int:
        drawing = super().reserve_bytes(request, entry, device)
        return drawing + math.prod(_result(request)) * BYTES_PER_PIXEL

    def size_class(self, request: UpscaleInput) -> str:
        width, height = _result(request)
        return f"{width}x{height}x{request.scale:g}x{request.n}"

    def _pixels(self, request: UpscaleInput, entry: Entry) -> int:
        recipe = self.recipe(request, entry)
        sides = recipe.width, recipe.height
        return math.prod(min(side, recipe.tile or side) for side in sides)


def _factor(entry: Entry) -> int | None:
    """Of a model made for upscaling; None: it draws on from a picture that is large already."""
    return UPSCALE_FACTORS[kind_of(entry.kind or "")] if UPSCALE in modes(entry) else None


def _result(request: UpscaleInput) -> Size:
    """Width and height of the answer."""
    assert request.source is not None
    assert request.scale is not None
    width, height = request.source
    return round(width * request.scale), round(height * request.scale)


def _ground(request: UpscaleInput, entry: Entry) -> Size:
    """Of the picture that tiles are cut from: in sides that the model can take."""
    assert request.source is not None
    step = multiple(entry)
    sides = request.source if _factor(entry) else _result(request)
    width, height = (max(step, -(-side // step) * step) for side in sides)
    return width, height


def _tile(request: UpscaleInput, entry: Entry) -> Size:
    width, height = _ground(request, entry)
    most = _most(entry)
    return min(width, most), min(height, most)


def _most(entry: Entry) -> int:
    """Side of the largest tile."""
    most = TILE if _factor(entry) else int(entry.facts.get("native_size", FALLBACK_SIZE))
    step = multiple(entry)
    return max(step, most // step * step)


def _places(size: Size, tile: Size, entry: Entry) -> list[Size]:
    """Left and top of the tiles, where latents begin: they begin with parts of one noise."""
    step = multiple(entry)
    (whole, part) = ((width // step, height // step) for width, height in (size, tile))
    overlap = int(_most(entry) * OVERLAP) // step
    return [(left * step, top * step) for left, top in corners(whole, part, overlap)]


def _is_whole(entry: Entry) -> bool:
    """Whether the picture is one while it is drawn, whatever its size."""
    return kind_of(entry.kind or "") in IN_ROWS


def _require_fields(request: UpscaleInput, entry: Entry) -> None:
    """Raises InvalidInput for what the model does not have."""
    factor = _factor(entry)
    if request.noise_level is not None and kind_of(entry.kind or "") != NOISED:
        raise InvalidInput(f"{entry.name} has no noise_level; leave it out", param="noise_level")
    if factor is None:
        return
    if request.scale != factor:
        raise InvalidInput(
            f"{entry.name} makes each side {factor} times as long; leave scale out",
            param="scale",
            details={"scale": factor},
        )
    if request.strength is not None:
        raise InvalidInput(f"{entry.name} has no strength; leave it out", param="strength")


TASKS.register(Upscale.name, Upscale())
