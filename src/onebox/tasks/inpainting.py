"""Task `inpainting`: a part of a picture drawn anew, the rest left as it is.

curl -s localhost:8000/v1/tasks/inpainting -H "Authorization: Bearer $KEY" \\
     -F model=onebox-shapes -F image=@circle.png -F mask=@mask.png -F mask_mode=luminance \\
     -F prompt="a green star" -H 'Accept: image/png' -o star.png
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from onebox.core.contracts import Device, Entry, RunContext, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.imaging.diffusion.abilities import INPAINT
from onebox.imaging.diffusion.recipe import Picture, Recipe
from onebox.imaging.layout import Box
from onebox.imaging.masks import EDIT, MaskMode, feathered, mask_of, pasted
from onebox.imaging.opening import on_white, open_picture, open_pictures
from onebox.imaging.surroundings import around, put_back
from onebox.tasks.image_to_image import MAX_IMAGES, require_sight
from onebox.tasks.picture_input import PictureInput, Side
from onebox.tasks.picture_recipe import (
    filling,
    pictures_of,
    recipe_of,
    require_answer,
    require_steps,
    shaped,
    size_for,
    size_of,
    stretched,
)
from onebox.tasks.picture_task import FALLBACK_SIZE, PictureTask

# Nothing of what was there shines through, as models trained to inpaint expect it.
DEFAULT_STRENGTH = 1.0
InpaintArea = Literal["whole", "masked"]
MAX_PADDING = 4096
# Of the shorter side; 8 pixels of 512.
DEFAULT_FEATHER = 1 / 64
# What the picture, its mask, its rim and the result take of a picture's own size.
BYTES_PER_PIXEL = 24


class InpaintingInput(PictureInput):
    """The picture, where it is to change, and what is to be there."""

    image: MediaRef = Field(description="PNG, JPEG or WebP.")
    mask: MediaRef | None = Field(
        None,
        description="Of the picture's shape. Left out, the picture's own transparency is the mask.",
    )
    references: list[MediaRef] = Field(
        [],
        max_length=MAX_IMAGES - 1,
        description="Further pictures, for a model that is told what to do with them.",
    )
    mask_mode: MaskMode = Field(
        default="alpha",
        description="What is drawn anew: `alpha`, where the mask is fully transparent; "
        "`luminance`, where it is white.",
    )
    feather: int | None = Field(
        None,
        ge=0,
        le=256,
        description="Pixels inside the mask over which old and new pass into each other.",
    )
    preserve_unmasked: bool = Field(
        default=True,
        description="The result is the picture in its own size, and outside the mask its pixels "
        "are what they were, bit for bit. False: as the model drew it.",
    )
    inpaint_area: InpaintArea = Field(
        default="whole",
        description="What is drawn to fill the mask: the `whole` picture, or the `masked` part of "
        "it with what surrounds that, which then has as many pixels as the whole would have.",
    )
    inpaint_padding: int | None = Field(
        None,
        ge=0,
        le=MAX_PADDING,
        description="Pixels of the picture on each side of the mask that are drawn with it; by "
        "default a quarter of the mask's longer side, 32 at least. With `masked` alone.",
    )
    strength: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="How much of what is under the mask is drawn anew.",
    )
    width: int | None = Side
    height: int | None = Side
    source: tuple[int, int] | None = Field(
        None, description="Found out: the picture's width and height in pixels."
    )


@dataclass(frozen=True, slots=True)
class Hole(Picture):
    """A picture to be drawn inside a mask.

    Attributes:
        whole: Pillow RGB or RGBA, what it is put back into.
        rim: Pillow L of that size: how much of the drawing is taken.
        box: what is drawn of the whole; None: all of it.
    """

    whole: Any = None
    rim: Any = None
    box: Box | None = None


class Inpainting(PictureTask[InpaintingInput]):
    name = "inpainting"
    summary = "Draw a part of a picture anew"
    Input = InpaintingInput

    def resolve(
        self, request: InpaintingInput, entry: Entry, defaults: TaskDefaults
    ) -> InpaintingInput:
        own = size_of(request.image, "image")
        asked = request.width, request.height
        if request.inpaint_area == "masked" and asked == (None, None):
            # Also more pixels than the picture has: the part is a small one.
            native = entry.facts.get("native_size", FALLBACK_SIZE)
            asked = native, native
        size = size_for(own, entry, asked)
        if request.preserve_unmasked and None not in asked:
            # It is put back into the picture: another shape would be stretched.
            size = shaped(own, size, entry)
        update: dict[str, Any] = {"width": size[0], "height": size[1], "source": own}
        if request.strength is None:
            update["strength"] = DEFAULT_STRENGTH
        return super().resolve(request, entry, defaults).model_copy(update=update)

    def check(self, request: InpaintingInput, entry: Entry) -> None:
        super().check(request, entry)
        require_steps(request, request.strength)
        _require_area(request)
        require_sight(entry, 1 + len(request.references), "references")
        if request.preserve_unmasked and request.source is not None:
            require_answer(request, request.source)

    def recipe(self, request: InpaintingInput, entry: Entry) -> Recipe:
        assert request.width
        assert request.height
        size = request.width, request.height
        return recipe_of(request, INPAINT, size, strength=request.strength)

    def batch_key(self, request: InpaintingInput, entry: Entry) -> Hashable | None:
        # What a model is shown is of one size in a call.
        return None if request.references else super().batch_key(request, entry)

    def pictures(
        self, request: InpaintingInput, recipe: Recipe, owner: int, context: RunContext
    ) -> list[Picture]:
        raw = context.read(request.image)
        # Where its transparency is the mask, what is left is not to be seen through.
        whole = open_picture(raw, "image", alpha=request.mask is not None)
        mask = (
            mask_of(raw, whole.size, "alpha", "image")
            if request.mask is None
            else mask_of(context.read(request.mask), whole.size, request.mask_mode, "mask")
        )
        size = recipe.width, recipe.height
        # What goes back into the picture must lie where it lay, so nothing is cut off.
        fitted = stretched if request.preserve_unmasked else filling
        is_part = request.inpaint_area == "masked"
        box = around(mask, request.inpaint_padding) if is_part else Box(0, 0, *whole.size)
        part = whole.crop(box.corners) if is_part else whole
        shown = [context.read(media) for media in request.references]
        return pictures_of(
            request,
            owner,
            Hole,
            image=fitted(on_white(part), size),
            mask=_covered(fitted(mask.crop(box.corners), size)),
            whole=whole,
            rim=feathered(mask, _feather(request, part.size)),
            box=box if is_part else None,
            references=tuple(open_pictures(shown, "references")),
        )

    def finished(
        self, image: Any, request: InpaintingInput, picture: Picture, context: RunContext
    ) -> Any:
        assert isinstance(picture, Hole)
        if picture.box is not None:
            return put_back(picture.whole, image, picture.box, picture.rim)
        return pasted(picture.whole, image, picture.rim) if request.preserve_unmasked else image

    def reserve_bytes(self, request: InpaintingInput, entry: Entry, device: Device) -> int:
        drawing = super().reserve_bytes(request, entry, device)
        return drawing + math.prod(request.source or ()) * BYTES_PER_PIXEL

    def size_class(self, request: InpaintingInput) -> str:
        width, height = request.source or (0, 0)
        shown = f"+{len(request.references)}" if request.references else ""
        return f"{request.width}x{request.height}x{request.n} in {width}x{height}{shown}"


def _require_area(request: InpaintingInput) -> None:
    """Raises InvalidInput for what a drawing of the masked part alone has, or cannot have."""
    if request.inpaint_area == "whole" and request.inpaint_padding is not None:
        raise InvalidInput("inpaint_padding needs inpaint_area=masked", param="inpaint_padding")
    if request.inpaint_area == "masked" and not request.preserve_unmasked:
        raise InvalidInput(
            "inpaint_area=masked draws a part, which is put back into the picture; leave out "
            "preserve_unmasked=false",
            param="inpaint_area",
        )


def _feather(request: InpaintingInput, size: tuple[int, int]) -> int:
    return round(min(size) * DEFAULT_FEATHER) if request.feather is None else request.feather


def _covered(mask: Any) -> Any:
    """A mask that was resized, with all that it touches: strokes must not get lost."""
    return mask.point([0] + [EDIT] * 255)


TASKS.register(Inpainting.name, Inpainting())
