"""Task `text-to-image`: pictures from a prompt.

curl -s localhost:8000/v1/tasks/text-to-image -H "Authorization: Bearer $KEY" \\
     -H 'Content-Type: application/json' -H 'Accept: image/png' \\
     -d '{"model": "onebox-shapes", "prompt": "a red circle on a blue background"}' -o circle.png
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from onebox.core.contracts import Entry, RunContext, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.plugins import TASKS
from onebox.hardware.picture_rules import batch_size
from onebox.imaging.diffusion.abilities import IMAGE, TEXT
from onebox.imaging.diffusion.drawing import draw
from onebox.imaging.diffusion.passes import Pass
from onebox.imaging.diffusion.recipe import Picture, Recipe
from onebox.tasks.picture_input import PictureInput, Side
from onebox.tasks.picture_recipe import (
    modes,
    multiple,
    pictures_of,
    recipe_of,
    require_steps,
    stretched,
)
from onebox.tasks.picture_task import FALLBACK_SIZE, PictureTask


class Hires(BaseModel):
    """A second pass over the picture, made larger, for detail in sizes that a model did not learn.

    `true` stands for the defaults.
    """

    model_config = ConfigDict(extra="forbid")

    scale: float = Field(2.0, gt=1, le=4, allow_inf_nan=False, description="Times each side.")
    strength: float = Field(
        0.5, gt=0, le=1, allow_inf_nan=False, description="How much is drawn anew."
    )
    steps: int | None = Field(None, ge=1, le=150, description="By default those of the first.")

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        return {} if value is True else value


class TextToImageInput(PictureInput):
    """What to draw."""

    width: int | None = Side
    height: int | None = Side
    hires: Hires | None = Field(
        default=None, description="A second pass at a larger size, which is the result's."
    )


class TextToImage(PictureTask[TextToImageInput]):
    name = "text-to-image"
    summary = "Make pictures from a prompt"
    Input = TextToImageInput

    def resolve(
        self, request: TextToImageInput, entry: Entry, defaults: TaskDefaults
    ) -> TextToImageInput:
        own = entry.overrides.get("defaults", {})
        size = entry.facts.get("native_size", FALLBACK_SIZE)
        sides = {
            "width": request.width or own.get("width", size),
            "height": request.height or own.get("height", size),
        }
        return super().resolve(request, entry, defaults).model_copy(update=sides)

    def check(self, request: TextToImageInput, entry: Entry) -> None:
        super().check(request, entry)
        if request.hires is None:
            return
        if IMAGE not in modes(entry):
            raise InvalidInput(
                f"{entry.name} cannot draw on from a picture, which hires needs; leave it out",
                param="hires",
            )
        second = request.model_copy(update={"steps": request.hires.steps or request.steps})
        require_steps(second, request.hires.strength)

    def recipe(self, request: TextToImageInput, entry: Entry) -> Recipe:
        assert request.width
        assert request.height
        return recipe_of(request, TEXT, (request.width, request.height))

    def batch_key(self, request: TextToImageInput, entry: Entry) -> Hashable | None:
        key = super().batch_key(request, entry)
        return None if key is None else (key, _second(request, entry))

    def pictures(
        self, request: TextToImageInput, recipe: Recipe, owner: int, context: RunContext
    ) -> list[Picture]:
        return pictures_of(request, owner)

    def drawn(
        self,
        bundle: Any,
        pictures: Sequence[Picture],
        request: TextToImageInput,
        recipe: Recipe,
        context: RunContext,
    ) -> list[Any]:
        second = _second(request, context.entry)
        if second is None:
            return super().drawn(bundle, pictures, request, recipe, context)
        alone = request.deterministic or context.lean
        batches = [1 if alone else _together(context, one) for one in (recipe, second)]
        calls = -(-len(pictures) // batches[1])
        later = calls * int(second.steps * (second.strength or 1))
        first = Pass(context, after=later)
        small = draw(bundle, pictures, recipe, batches[0], cast(RunContext, first))
        size = second.width, second.height
        # What a picture looks like in the making is shown of the first pass.
        large = [
            replace(picture, image=stretched(image, size), previews=0)
            for picture, image in zip(pictures, small, strict=True)
        ]
        last = Pass(context, before=first.steps)
        return draw(bundle, large, second, batches[1], cast(RunContext, last))

    def size_class(self, request: TextToImageInput) -> str:
        larger = f"x{request.hires.scale:g}" if request.hires else ""
        return f"{request.width}x{request.height}{larger}x{request.n}"

    def _pixels(self, request: TextToImageInput, entry: Entry) -> int:
        recipe = _second(request, entry) or self.recipe(request, entry)
        return recipe.width * recipe.height


def _second(request: TextToImageInput, entry: Entry) -> Recipe | None:
    """What the second pass draws by."""
    hires = request.hires
    if hires is None:
        return None
    assert request.width
    assert request.height
    again = request.model_copy(update={"steps": hires.steps or request.steps})
    step = multiple(entry)
    width, height = (
        round(side * hires.scale / step) * step for side in (request.width, request.height)
    )
    return recipe_of(again, IMAGE, (width, height), strength=hires.strength)


def _together(context: RunContext, recipe: Recipe) -> int:
    return batch_size(context.device, recipe.width * recipe.height)


TASKS.register(TextToImage.name, TextToImage())
