"""Task `image-to-image`: pictures drawn on from one, or made of some after an instruction.

curl -s localhost:8000/v1/tasks/image-to-image -H "Authorization: Bearer $KEY" \\
     -F model=onebox-shapes -F images=@circle.png -F prompt="a blue circle" -F strength=0.6 \\
     -H 'Accept: image/png' -o blue.png
"""

from __future__ import annotations

from collections.abc import Hashable

from pydantic import Field

from onebox.core.contracts import Entry, RunContext, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.imaging.diffusion.abilities import EDIT, IMAGE, REFERENCES, kind_of
from onebox.imaging.diffusion.recipe import Mode, Picture, Recipe
from onebox.imaging.opening import open_pictures
from onebox.tasks.picture_input import PictureInput, Side
from onebox.tasks.picture_recipe import (
    filling,
    modes,
    pictures_of,
    recipe_of,
    require_steps,
    size_for,
    size_of,
)
from onebox.tasks.picture_task import PictureTask

MAX_IMAGES = 16
DEFAULT_STRENGTH = 0.75


class ImageToImageInput(PictureInput):
    """What to start from, and what to make of it."""

    images: list[MediaRef] = Field(
        min_length=1,
        max_length=MAX_IMAGES,
        description="PNG, JPEG or WebP; several for a model that is told what to do with them.",
    )
    strength: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="How much is drawn anew; 1: nothing of the picture is left.",
    )
    width: int | None = Side
    height: int | None = Side


class ImageToImage(PictureTask[ImageToImageInput]):
    name = "image-to-image"
    summary = "Draw on from a picture, or change pictures by an instruction"
    Input = ImageToImageInput

    def resolve(
        self, request: ImageToImageInput, entry: Entry, defaults: TaskDefaults
    ) -> ImageToImageInput:
        own = entry.overrides.get("defaults", {})
        size = size_of(request.images[0], "images")
        width, height = size_for(size, entry, (request.width, request.height))
        update: dict[str, float] = {"width": width, "height": height}
        if request.strength is None and _mode(entry) == IMAGE:
            update["strength"] = own.get("strength", DEFAULT_STRENGTH)
        return super().resolve(request, entry, defaults).model_copy(update=update)

    def check(self, request: ImageToImageInput, entry: Entry) -> None:
        super().check(request, entry)
        mode = _mode(entry)
        require_sight(entry, len(request.images), "images")
        if mode == EDIT and request.strength is not None:
            raise InvalidInput(
                f"{entry.name} changes pictures by an instruction and has no strength; leave it "
                "out",
                param="strength",
            )
        require_steps(request, request.strength)

    def recipe(self, request: ImageToImageInput, entry: Entry) -> Recipe:
        assert request.width
        assert request.height
        size = request.width, request.height
        return recipe_of(request, _mode(entry), size, strength=request.strength)

    def batch_key(self, request: ImageToImageInput, entry: Entry) -> Hashable | None:
        # What a model is shown is of one size in a call, or the same for all of it.
        return None if _mode(entry) == EDIT else super().batch_key(request, entry)

    def pictures(
        self, request: ImageToImageInput, recipe: Recipe, owner: int, context: RunContext
    ) -> list[Picture]:
        opened = open_pictures([context.read(media) for media in request.images], "images")
        start = filling(opened[0], (recipe.width, recipe.height))
        shown = tuple(opened) if recipe.mode == EDIT else ()
        return pictures_of(request, owner, image=start, references=shown)

    def size_class(self, request: ImageToImageInput) -> str:
        return f"{request.width}x{request.height}x{request.n}+{len(request.images)}"


def require_sight(entry: Entry, pictures: int, param: str) -> None:
    """Raises InvalidInput for more pictures than the model can look at."""
    most = REFERENCES[kind_of(entry.kind or "")] if EDIT in modes(entry) else 1
    if pictures > most:
        raise InvalidInput(
            f"{entry.name} takes {most} picture{'s' * (most > 1)} at most, and {pictures} were "
            "sent; use a model that is told what to do with several, such as FLUX Kontext",
            param=param,
            details={"max": most},
        )


def _mode(entry: Entry) -> Mode:
    return IMAGE if IMAGE in modes(entry) else EDIT


TASKS.register(ImageToImage.name, ImageToImage())
