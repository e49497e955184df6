"""Task `try-on`: a person wearing a garment, from a picture of each.

A model that follows instructions (FLUX Kontext) is shown both pictures. Stable Diffusion draws the
clothing anew inside a mask, with the garment as an image prompt (IP-Adapter).

curl -s localhost:8000/v1/tasks/try-on -H "Authorization: Bearer $KEY" \\
     -F person=@me.jpg -F garment=@jacket.jpg -H 'Accept: image/png' -o me-in-the-jacket.png
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from onebox.core.companions import Companion
from onebox.core.contracts import Entry, RunContext, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.core.results import Artifact
from onebox.core.stages import Stage
from onebox.imaging.diffusion.abilities import EDIT, INPAINT
from onebox.imaging.diffusion.image_prompts import ADAPTER_SLOT, ENCODER_FACTS, ENCODER_SLOT
from onebox.imaging.diffusion.recipe import Picture, Recipe
from onebox.imaging.masks import MaskMode, feathered, mask_of, pasted
from onebox.imaging.mattes import clothing_mask
from onebox.imaging.opening import open_picture
from onebox.tasks.cutout import CutoutInput, Label
from onebox.tasks.inpainting import Hole
from onebox.tasks.picture_input import MAX_PROMPT, PictureInput, Side
from onebox.tasks.picture_recipe import (
    modes,
    pictures_of,
    recipe_of,
    require_answer,
    require_steps,
    shaped,
    size_for,
    size_of,
    stretched,
)
from onebox.tasks.picture_task import PictureTask

INSTRUCTION = (
    "The left picture shows a person, the right picture a garment. Dress the person in that "
    "garment. Keep the face, the hair, the body, the pose and the background as they are."
)
DESCRIPTION = "a photo of a person wearing the garment, natural folds, same light"
# What is drawn anew for each kind of garment, as models that were taught to tell clothes apart
# call it.
CLOTHES = {
    "upper": ("Upper-clothes", "Dress"),
    "lower": ("Pants", "Skirt", "Dress"),
    "dress": ("Upper-clothes", "Pants", "Skirt", "Dress"),
}
# Of the shorter side: how softly what was drawn passes into the photo.
FEATHER = 1 / 64
NEEDS = (
    "a model that follows instructions with several pictures (FLUX Kontext), or Stable Diffusion "
    "1.5 or XL with an IP-Adapter and its image encoder beside it"
)


class TryOnInput(PictureInput):
    """Who wears what, and where it is drawn."""

    prompt: str = Field(
        "", max_length=MAX_PROMPT, description="By default an instruction to dress the person."
    )
    person: MediaRef = Field(description="PNG, JPEG or WebP.")
    garment: MediaRef = Field(description="The garment by itself: PNG, JPEG or WebP.")
    category: Literal["upper", "lower", "dress"] = Field(
        default="upper", description="What the person wears now and is drawn anew."
    )
    mask: MediaRef | None = Field(
        None, description="Of the clothing on the person; by default a segmentation model finds it."
    )
    mask_mode: MaskMode = Field(
        default="alpha", description="Drawn anew is what is transparent, or what is white."
    )
    labels: list[Label] | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="What the segmentation model calls that clothing, instead of `category`.",
    )
    cutout_model: str | None = Field(
        None, max_length=512, description="Segmentation model that knows the labels."
    )
    matte: MediaRef | None = Field(
        None, description="As `cutout` makes it, white is the clothing; instead of a mask."
    )
    ip_adapter: str | None = Field(
        None, max_length=512, description="By default any installed one that fits the model."
    )
    image_encoder: str | None = Field(
        None, max_length=512, description="By default any installed one that fits the IP-Adapter."
    )
    garment_scale: float = Field(
        default=1.0, ge=0, le=2, description="How strongly an IP-Adapter follows the garment."
    )
    strength: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="Of what is under the mask."
    )
    preserve_unmasked: bool = Field(
        default=True,
        description="With a mask: the result is the person's picture in its own size, and outside "
        "the mask its pixels are what they were, bit for bit.",
    )
    width: int | None = Side
    height: int | None = Side


class TryOn(PictureTask[TryOnInput]):
    name = "try-on"
    summary = "Dress a person in a garment"
    needs = NEEDS
    Input = TryOnInput

    def resolve(self, request: TryOnInput, entry: Entry, defaults: TaskDefaults) -> TryOnInput:
        if request.mask is not None and request.matte is not None:
            raise InvalidInput("give a mask or a matte, not both", param="matte")
        own = size_of(request.person, "person")
        size_of(request.garment, "garment")
        if request.preserve_unmasked and (_is_masked(request) or not _is_instructed(entry)):
            require_answer(request, own)
        size = size_for(own, entry, (request.width, request.height))
        if request.preserve_unmasked and request.width and request.height:
            size = shaped(own, size, entry)
        update: dict[str, Any] = {"width": size[0], "height": size[1]}
        if not request.prompt.strip():
            update["prompt"] = INSTRUCTION if _is_instructed(entry) else DESCRIPTION
        if request.strength is None and (request.mask or not _is_instructed(entry)):
            update["strength"] = 1.0
        return super().resolve(request, entry, defaults).model_copy(update=update)

    def companions(self, request: TryOnInput, entry: Entry) -> tuple[Companion, ...]:
        found = super().companions(request, entry)
        if _is_instructed(entry):
            return found
        needs = f"{entry.name} needs an IP-Adapter and its image encoder for try-on, and "
        adapter = Companion(
            ADAPTER_SLOT,
            request.ip_adapter,
            frozenset({"ip_adapter"}),
            {"text_width": entry.facts.get("text_width")},
            param=ADAPTER_SLOT,
            needs=f"{needs}no IP-Adapter for {entry.facts.get('base')} is installed; put one "
            f"(ip-adapter_….safetensors) into the model folder, or use {NEEDS}",
        )
        encoder = Companion(
            ENCODER_SLOT,
            request.image_encoder,
            frozenset({"image_encoder"}),
            alike=dict.fromkeys(ENCODER_FACTS, ADAPTER_SLOT),
            param=ENCODER_SLOT,
            needs=f"{needs}no image encoder that fits the IP-Adapter is installed; put its folder "
            "(image_encoder with config.json and model.safetensors) into the model folder",
        )
        return (*found, adapter, encoder)

    def fits(self, request: TryOnInput, entry: Entry, slot: str, companion: Entry) -> None:
        super().fits(request, entry, slot, companion)
        wanted, made_for = entry.facts.get("text_width"), companion.facts.get("text_width")
        if slot == ADAPTER_SLOT and wanted != made_for:
            raise InvalidInput(
                f"{companion.name} is for {companion.facts['base']}, but {entry.name} is "
                f"{entry.facts.get('base')}; name an IP-Adapter that was made for it",
                param=ADAPTER_SLOT,
                details={"base": entry.facts.get("base"), "made_for": companion.facts["base"]},
            )

    def before(self, request: TryOnInput, entry: Entry) -> Stage | None:
        if _is_instructed(entry) or request.mask is not None or request.matte is not None:
            return None
        labels = request.labels or list(CLOTHES[request.category])
        asked = {label.casefold() for label in labels}

        def knows(other: Entry) -> bool:
            return asked <= {str(label).casefold() for label in other.facts.get("labels", ())}

        return Stage(
            "cutout",
            CutoutInput(image=request.person, labels=labels, output="matte"),
            request.cutout_model,
            fits=knows,
            params={"model": "cutout_model", "image": "person"},
            needs=f"{entry.name} needs to know where the clothing is: send a mask of it, or put a "
            f"segmentation model that knows {', '.join(labels)} into the model folder (a "
            "SegFormer for clothes, say)",
        )

    def joined(self, request: TryOnInput, artifacts: Sequence[Artifact]) -> TryOnInput:
        (matte,) = artifacts
        found = MediaRef(media_type=matte.media_type, data=matte.data)
        return request.model_copy(update={"matte": found})

    def check(self, request: TryOnInput, entry: Entry) -> None:
        super().check(request, entry)
        if not _is_masked(request) and request.strength is not None:
            raise InvalidInput(
                f"{entry.name} follows an instruction and has no strength; leave it out, or send "
                "a mask of the clothing",
                param="strength",
            )
        require_steps(request, request.strength)

    def recipe(self, request: TryOnInput, entry: Entry) -> Recipe:
        assert request.width is not None
        assert request.height is not None
        # With a model that is instructed nothing is masked unless the client said so. The matte
        # of the others may still be on its way.
        is_edit = _is_instructed(entry) and not _is_masked(request)
        recipe = recipe_of(
            request,
            EDIT if is_edit else INPAINT,
            (request.width, request.height),
            strength=request.strength,
        )
        return (
            recipe if _is_instructed(entry) else replace(recipe, image_prompt=request.garment_scale)
        )

    def batch_key(self, request: TryOnInput, entry: Entry) -> Hashable | None:
        # An image prompt is one for a whole call, and what a model is shown of one size.
        return None

    def pictures(
        self, request: TryOnInput, recipe: Recipe, owner: int, context: RunContext
    ) -> list[Picture]:
        person = open_picture(context.read(request.person), "person")
        garment = open_picture(context.read(request.garment), "garment")
        shown = (garment,) if recipe.image_prompt is not None else (person, garment)
        size = recipe.width, recipe.height
        start = stretched(person, size)
        if recipe.mode == EDIT:
            return pictures_of(request, owner, image=start, references=shown)
        mask = _mask(request, person.size, context)
        return pictures_of(
            request,
            owner,
            Hole,
            image=start,
            mask=stretched(mask, size),
            references=shown,
            whole=person,
            rim=feathered(mask, round(min(person.size) * FEATHER)),
        )

    def finished(
        self, image: Any, request: TryOnInput, picture: Picture, context: RunContext
    ) -> Any:
        if isinstance(picture, Hole) and request.preserve_unmasked:
            return pasted(picture.whole, image, picture.rim)
        return image

    def size_class(self, request: TryOnInput) -> str:
        return f"{request.width}x{request.height}x{request.n}"


def _is_instructed(entry: Entry) -> bool:
    """Whether it draws after an instruction, with pictures to look at."""
    return EDIT in modes(entry)


def _is_masked(request: TryOnInput) -> bool:
    return request.mask is not None or request.matte is not None


def _mask(request: TryOnInput, size: tuple[int, int], context: RunContext) -> Any:
    """Pillow L: 255 is the clothing, which is drawn anew. Raises InvalidInput."""
    if request.mask is not None:
        return mask_of(context.read(request.mask), size, request.mask_mode, "mask")
    assert request.matte is not None
    return clothing_mask(context.read(request.matte), size, "matte")


TASKS.register(TryOn.name, TryOn())
