"""Task `upscale`: a picture made larger, with detail drawn into it.

By a model made for it, or by any that draws on from pictures; in tiles, so that memory is no limit.

curl -s localhost:8000/v1/tasks/upscale -H "Authorization: Bearer $KEY" \\
     -F model=onebox-shapes -F image=@circle.png -H 'Accept: image/png' -o large.png
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from onebox.core.contracts import Entry, RunContext, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.core.seeds import seed_of
from onebox.imaging.diffusion.abilities import IMAGE, UPSCALE, UPSCALE_FACTORS, kind_of
from onebox.imaging.diffusion.recipe import Picture, Recipe
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
# Of a tile's side, what it shares with the next. A model made for this follows the picture; others
# may draw another thing into each tile, which needs more room to pass into its neighbour.
OVERLAP = 1 / 8
LOOSE_OVERLAP = 1 / 4
# The class that takes a noise level.
NOISED = "StableDiffusionUpscalePipeline"
# Tiles begin with noise of their own, or all would show the same grain.
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
        width, height = _tile(request, entry)
        factor = _factor(entry)
        if factor is None:
            return recipe_of(request, IMAGE, (width, height), strength=request.strength)
        noise = () if request.noise_level is None else (("noise_level", request.noise_level),)
        return recipe_of(request, UPSCALE, (width * factor, height * factor), extra=noise)

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
        entry = context.entry
        factor = _factor(entry) or 1
        ground, tile = _ground(request, entry), _tile(request, entry)
        overlap = _overlap(entry)
        places = corners(ground, tile, overlap)
        tiles = [
            replace(
                picture,
                image=cut(picture.image, place, tile),
                seed=seed_of(picture.seed, number * SEEDS_BETWEEN_TILES),
                # Of tiles there is nothing to be seen before they are joined.
                previews=picture.previews if len(places) == 1 else 0,
            )
            for picture in pictures
            for number, place in enumerate(places)
        ]
        drawn = super().drawn(bundle, tiles, request, recipe, context)
        spots = [(left * factor, top * factor) for left, top in places]
        size = ground[0] * factor, ground[1] * factor
        count = len(places)
        return [
            joined(drawn[number * count : (number + 1) * count], spots, size, overlap * factor)
            for number in range(len(pictures))
        ]

    def finished(
        self, image: Any, request: UpscaleInput, picture: Picture, context: RunContext
    ) -> Any:
        return stretched(image, _result(request))

    def size_class(self, request: UpscaleInput) -> str:
        width, height = _result(request)
        return f"{width}x{height}x{request.scale:g}x{request.n}"


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


def _overlap(entry: Entry) -> int:
    return int(_most(entry) * (OVERLAP if _factor(entry) else LOOSE_OVERLAP))


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
