"""Task `background`: a product photo with another background, drawn around the product.

curl -s localhost:8000/v1/tasks/background -H "Authorization: Bearer $KEY" \\
     -F image=@cup.png -F prompt="on a marble table, soft light" -F aspect_ratio=1:1 \\
     -F shadow=0.5 -H 'Accept: image/png' -o cup-on-marble.png
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field

from onebox.core.contracts import Device, Entry, RunContext, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.core.results import Artifact, Output
from onebox.core.stages import Stage
from onebox.hardware.memory import HOST_POOL
from onebox.imaging.composition import Composition, composed, on_background
from onebox.imaging.diffusion.abilities import INPAINT
from onebox.imaging.diffusion.recipe import Picture, Recipe
from onebox.imaging.diffusion.sizes import Size, working_size
from onebox.imaging.layout import Position, Wishes, canvas_size, lay_out
from onebox.imaging.masks import MaskMode
from onebox.imaging.mattes import (
    FAINT,
    HALF,
    decontaminated,
    matte_of,
    matte_of_alpha,
    matte_of_mask,
    product_box,
)
from onebox.imaging.opening import open_picture, probe
from onebox.tasks.cutout import CutoutInput, takes_anything
from onebox.tasks.picture_input import PictureInput
from onebox.tasks.picture_recipe import (
    multiple,
    pictures_of,
    recipe_of,
    require_answer,
    require_steps,
    size_of,
    stretched,
)
from onebox.tasks.picture_task import PictureTask

NEEDS = (
    "there is no segmentation model here to cut the product out; send a photo with an alpha "
    "channel, a mask or a matte, or install one (`onebox pull starter` brings u2netp)"
)
# What the photo, its parts and the canvas take while they are put together.
BYTES_PER_PIXEL = 24


class BackgroundInput(PictureInput):
    """The photo, where the product goes, and what is drawn around it."""

    image: MediaRef = Field(description="The product's photo: PNG, JPEG or WebP.")
    cut: Literal["auto", "alpha", "model"] = Field(
        default="auto",
        description="What tells the product: the photo's alpha, a segmentation model, or the "
        "alpha where it has some and else the model.",
    )
    cutout_model: str | None = Field(
        None, max_length=512, description="Segmentation model; by default that of `cutout`."
    )
    mask: MediaRef | None = Field(None, description="Of what is drawn anew; instead of `cut`.")
    mask_mode: MaskMode = Field(
        default="alpha", description="Drawn anew is what is transparent, or what is white."
    )
    matte: MediaRef | None = Field(
        None, description="As `cutout` makes it, white is the product; instead of `cut`."
    )
    matte_confidence: float | None = Field(None, ge=0, le=1, description="Told by `cutout`.")
    matte_edge_sharpness: float | None = Field(None, ge=0, description="Told by `cutout`.")
    width: int | None = Field(None, ge=64, le=8192, description="Pixels; by default the photo's.")
    height: int | None = Field(None, ge=64, le=8192, description="Pixels.")
    aspect_ratio: str | None = Field(
        None, max_length=9, description="WIDTH:HEIGHT of the picture, which holds the whole photo."
    )
    padding: float = Field(
        default=0.0,
        ge=0,
        le=0.45,
        description="Share of the picture that stays free of the product at each edge.",
    )
    position: Position | None = Field(None, description="By default as in the photo.")
    scale: float | None = Field(
        None, gt=0, le=1, description="Share of the picture's side that the product fills."
    )
    shadow: float = Field(
        default=0.0, ge=0, le=1, description="How dark the product's shadow on the ground is."
    )
    strength: float = Field(
        default=1.0, ge=0, le=1, description="Below 1 some of the old background is kept."
    )
    return_mask: bool = Field(
        default=False, description="Also return the product's matte, as the last picture."
    )


@dataclass(frozen=True, slots=True)
class Staged(Picture):
    """A picture to be drawn around a product."""

    composition: Composition | None = None


class Background(PictureTask[BackgroundInput]):
    name = "background"
    confidence_is_own = False
    summary = "Draw another background around a product"
    Input = BackgroundInput

    def resolve(
        self, request: BackgroundInput, entry: Entry, defaults: TaskDefaults
    ) -> BackgroundInput:
        _require_one_way(request)
        width, height = canvas_size(size_of(request.image, "image"), _wishes(request))
        resolved = super().resolve(request, entry, defaults)
        # Before anything is cut out.
        require_steps(resolved, resolved.strength)
        require_answer(resolved, (width, height))
        return resolved.model_copy(update={"width": width, "height": height})

    def before(self, request: BackgroundInput, entry: Entry) -> Stage | None:
        if request.mask is not None or request.matte is not None:
            return None
        has_alpha = probe(request.image.data or b"", "image").has_alpha
        if request.cut == "alpha" or (request.cut == "auto" and has_alpha):
            return None
        cutout = CutoutInput(image=request.image, output="matte")
        return Stage(
            "cutout",
            cutout,
            request.cutout_model,
            prefers=takes_anything,
            params={"model": "cutout_model"},
            needs=NEEDS,
        )

    def joined(self, request: BackgroundInput, artifacts: Sequence[Artifact]) -> BackgroundInput:
        (matte,) = artifacts
        told = {
            "matte": MediaRef(media_type=matte.media_type, data=matte.data),
            "matte_confidence": matte.meta.get("confidence"),
            "matte_edge_sharpness": matte.meta.get("edge_sharpness"),
        }
        return request.model_copy(update=told)

    def recipe(self, request: BackgroundInput, entry: Entry) -> Recipe:
        size = working_size(_canvas(request), entry.facts.get("native_size"), multiple(entry))
        return recipe_of(request, INPAINT, size, strength=request.strength)

    def pictures(
        self, request: BackgroundInput, recipe: Recipe, owner: int, context: RunContext
    ) -> list[Picture]:
        whole = _composition(request, context)
        size = recipe.width, recipe.height
        return pictures_of(
            request,
            owner,
            Staged,
            image=stretched(whole.start, size),
            mask=stretched(whole.to_draw, size),
            composition=whole,
        )

    def finished(
        self, image: Any, request: BackgroundInput, picture: Picture, context: RunContext
    ) -> Any:
        assert isinstance(picture, Staged)
        assert picture.composition is not None
        return on_background(picture.composition, image, request.shadow)

    def run_batch(
        self, bundle: Any, requests: Sequence[BackgroundInput], context: RunContext
    ) -> list[list[Output]]:
        made = super().run_batch(bundle, requests, context)
        return [
            [replace(output, meta=output.meta | _told(request)) for output in outputs]
            + ([_matte_output(request, context)] if request.return_mask else [])
            for request, outputs in zip(requests, made, strict=True)
        ]

    def reserve_bytes(self, request: BackgroundInput, entry: Entry, device: Device) -> int:
        drawing = super().reserve_bytes(request, entry, device)
        if device.pool != HOST_POOL:
            return drawing
        width, height = _canvas(request)
        return drawing + width * height * BYTES_PER_PIXEL

    def size_class(self, request: BackgroundInput) -> str:
        return f"{request.width}x{request.height}x{request.n}"


def _require_one_way(request: BackgroundInput) -> None:
    """Raises InvalidInput when it is said twice what the product is, or its size, or half a size,
    or that there is to be no background.
    """
    if request.mask is not None and request.matte is not None:
        raise InvalidInput("give a mask or a matte, not both", param="matte")
    if (request.width is None) != (request.height is None):
        raise InvalidInput("give both width and height, or neither of them", param="width")
    if request.width is not None and request.aspect_ratio is not None:
        raise InvalidInput("give a size or an aspect_ratio, not both", param="aspect_ratio")
    if request.background == "transparent":
        raise InvalidInput(
            "a background is drawn here; for none at all ask the task cutout", param="background"
        )


def _wishes(request: BackgroundInput) -> Wishes:
    size = (request.width, request.height) if request.width and request.height else None
    return Wishes(size, request.aspect_ratio, request.padding, request.position, request.scale)


def _canvas(request: BackgroundInput) -> Size:
    """Of the resolved request."""
    assert request.width is not None
    assert request.height is not None
    return request.width, request.height


def _composition(request: BackgroundInput, context: RunContext) -> Composition:
    """The product on its canvas. Raises InvalidInput."""
    photo, matte = _cut_out(request, context)
    box = product_box(matte, "image", FAINT if _is_by_alpha(request) else HALF)
    layout = lay_out(photo.size, box, _wishes(request))
    whole = composed(photo, matte, layout)
    if whole.alpha.getextrema()[0] == 255:
        raise InvalidInput(
            "the product fills the whole picture and leaves nothing to draw; ask for padding or "
            "another aspect_ratio",
            param="image",
        )
    return whole


def _is_by_alpha(request: BackgroundInput) -> bool:
    """Whether the photo's own alpha channel tells the product."""
    return request.matte is None and request.mask is None


def _cut_out(request: BackgroundInput, context: RunContext) -> tuple[Any, Any]:
    """The photo with clean edges around the product, and the matte. Raises InvalidInput."""
    raw = context.read(request.image)
    if _is_by_alpha(request):
        with_alpha = open_picture(raw, "image", alpha=True)
        matte = matte_of_alpha(with_alpha, "image")
        return decontaminated(with_alpha.convert("RGB"), matte, below=1), matte
    photo = open_picture(raw, "image")
    if request.matte is not None:
        matte = matte_of(context.read(request.matte), photo.size, "matte")
    else:
        assert request.mask is not None
        raw_mask = context.read(request.mask)
        matte = matte_of_mask(raw_mask, photo.size, request.mask_mode, "mask")
    return decontaminated(photo, matte), matte


def _told(request: BackgroundInput) -> dict[str, float]:
    """What is known about the matte, for the answer."""
    told = {
        "confidence": request.matte_confidence,
        "edge_sharpness": request.matte_edge_sharpness,
    }
    return {name: value for name, value in told.items() if value is not None}


def _matte_output(request: BackgroundInput, context: RunContext) -> Output:
    alpha = _composition(request, context).alpha
    meta = {"role": "mask", "width": alpha.width, "height": alpha.height}
    return Output("image", alpha, options={"format": "png"}, meta=meta)


TASKS.register(Background.name, Background())
