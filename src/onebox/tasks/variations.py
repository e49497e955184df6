"""Task `variations`: pictures that resemble one.

curl -s localhost:8000/v1/tasks/variations -H "Authorization: Bearer $KEY" \\
     -F model=onebox-shapes -F image=@circle.png -H 'Accept: image/png' -o another.png
"""

from __future__ import annotations

from pydantic import Field

from onebox.core.contracts import Entry, RunContext, TaskDefaults
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.imaging.diffusion.abilities import IMAGE
from onebox.imaging.diffusion.recipe import Picture, Recipe
from onebox.imaging.opening import open_picture
from onebox.tasks.picture_input import MAX_PROMPT, PictureInput, Side
from onebox.tasks.picture_recipe import (
    filling,
    pictures_of,
    recipe_of,
    require_steps,
    size_for,
    size_of,
)
from onebox.tasks.picture_task import PictureTask

# Enough to be another picture, too little for another layout.
DEFAULT_STRENGTH = 0.6


class VariationsInput(PictureInput):
    """The picture; a prompt only leads what changes."""

    prompt: str = Field("", max_length=MAX_PROMPT)
    image: MediaRef = Field(description="PNG, JPEG or WebP.")
    strength: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="1: nothing of the picture is left."
    )
    width: int | None = Side
    height: int | None = Side


class Variations(PictureTask[VariationsInput]):
    name = "variations"
    summary = "Make pictures that resemble one"
    Input = VariationsInput

    def resolve(
        self, request: VariationsInput, entry: Entry, defaults: TaskDefaults
    ) -> VariationsInput:
        size = size_of(request.image, "image")
        width, height = size_for(size, entry, (request.width, request.height))
        update: dict[str, float] = {"width": width, "height": height}
        if request.strength is None:
            update["strength"] = DEFAULT_STRENGTH
        return super().resolve(request, entry, defaults).model_copy(update=update)

    def check(self, request: VariationsInput, entry: Entry) -> None:
        super().check(request, entry)
        require_steps(request, request.strength)

    def recipe(self, request: VariationsInput, entry: Entry) -> Recipe:
        assert request.width
        assert request.height
        return recipe_of(request, IMAGE, (request.width, request.height), strength=request.strength)

    def pictures(
        self, request: VariationsInput, recipe: Recipe, owner: int, context: RunContext
    ) -> list[Picture]:
        opened = open_picture(context.read(request.image), "image")
        start = filling(opened, (recipe.width, recipe.height))
        return pictures_of(request, owner, image=start)

    def size_class(self, request: VariationsInput) -> str:
        return f"{request.width}x{request.height}x{request.n}"


TASKS.register(Variations.name, Variations())
