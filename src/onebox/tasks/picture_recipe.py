"""Recipes and pictures of requests, as all tasks that draw make them."""

from __future__ import annotations

from typing import Any

from onebox.core.contracts import Entry
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.core.seeds import seed_of
from onebox.imaging.diffusion.abilities import modes_of
from onebox.imaging.diffusion.recipe import Mode, Picture, Recipe
from onebox.imaging.diffusion.sizes import Size, of_area, rounded, working_size
from onebox.imaging.opening import MAX_PIXELS, probe
from onebox.tasks.picture_adapters import loras, textual_inversions
from onebox.tasks.picture_input import PictureInput, require_room


def recipe_of(
    request: PictureInput,
    mode: Mode,
    size: Size,
    *,
    strength: float | None = None,
    extra: tuple[tuple[str, Any], ...] = (),
) -> Recipe:
    """What the resolved request's pictures have in common."""
    assert request.steps is not None
    return Recipe(
        mode,
        *size,
        request.steps,
        request.guidance_scale or 0.0,
        strength=strength,
        scheduler=request.scheduler,
        clip_skip=request.clip_skip,
        loras=loras(request),
        textual_inversions=textual_inversions(request),
        extra=extra,
    )


def pictures_of(
    request: PictureInput, owner: int, kind: type[Picture] = Picture, **given: Any
) -> list[Picture]:
    """One for each seed of the resolved request, with the pictures that they start from."""
    assert request.seed is not None
    return [
        kind(
            request.prompt,
            request.negative_prompt,
            seed_of(request.seed, index),
            owner=owner,
            index=index,
            previews=request.partial_images,
            preview_format=request.output_format,
            **given,
        )
        for index in range(request.n)
    ]


def modes(entry: Entry) -> frozenset[Mode]:
    """What the checkpoint can do."""
    facts = entry.facts
    return modes_of(entry.kind or "", facts.get("base", ""), facts.get("in_channels"))


def multiple(entry: Entry) -> int:
    """Of what the sides of its pictures must be, in pixels."""
    return int(entry.facts.get("multiple", 8))


def size_of(media: MediaRef, param: str) -> Size:
    """Width and height of a picture that was sent, upright.

    Raises InvalidInput for what is none.
    """
    facts = probe(media.data or b"", param)
    return facts.width, facts.height


def size_for(picture: Size, entry: Entry, asked: tuple[int | None, int | None]) -> Size:
    """The size to draw in: as asked for, one side after the other, or what suits the checkpoint."""
    width, height = asked
    if width is None and height is None:
        return working_size(picture, entry.facts.get("native_size"), multiple(entry))
    own_width, own_height = picture
    return (
        width or rounded((height or 0) * own_width / own_height, multiple(entry)),
        height or rounded((width or 0) * own_height / own_width, multiple(entry)),
    )


def shaped(picture: Size, asked: Size, entry: Entry) -> Size:
    """The picture's shape in about as many pixels as were asked for."""
    return of_area(picture, asked[0] * asked[1], multiple(entry))


def filling(picture: Any, size: Size) -> Any:
    """The Pillow picture in this size; what is beyond its shape is cut off at both edges."""
    from PIL import Image, ImageOps

    if picture.size == size:
        return picture
    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


def stretched(picture: Any, size: Size) -> Any:
    """The Pillow picture in this size, whole."""
    from PIL import Image

    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def require_answer(request: PictureInput, size: Size) -> None:
    """Raises InvalidInput when pictures of this size are too long for their format, or too many for
    one answer, which is held in memory: noise hardly gets smaller in a PNG.
    """
    width, height = size
    require_room(request.output_format, width, height)
    if request.n * width * height > MAX_PIXELS:
        raise InvalidInput(
            f"{request.n} pictures of {width}x{height} are more than the {MAX_PIXELS} pixels of an "
            f"answer; ask for {MAX_PIXELS // (width * height)} at most, or send a smaller one",
            param="n",
            details={"n": request.n, "width": width, "height": height, "max_pixels": MAX_PIXELS},
        )


def require_steps(request: PictureInput, strength: float | None) -> None:
    """Raises InvalidInput when so little is drawn anew that it is no step."""
    assert request.steps is not None
    if strength is not None and int(request.steps * strength) < 1:
        least = 1 / request.steps
        raise InvalidInput(
            f"a strength of {strength:g} leaves no step of {request.steps} to draw; raise it to "
            f"{least:.2f} at least, or ask for more steps",
            param="strength",
            details={"strength": strength, "steps": request.steps},
        )
