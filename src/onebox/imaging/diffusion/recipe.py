"""What a pipeline is asked to draw: `Picture`s, and the `Recipe` that those of one call share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

# "edit" draws after an instruction, with pictures as references.
Mode = Literal[
    "text-to-image",
    "image-to-image",
    "inpainting",
    "edit",
    "upscale",
    "text-to-video",
    "image-to-video",
]


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA or a textual inversion; `slot` names its file among the companions of the request."""

    slot: str
    scale: float = 1.0
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the pictures of one call have in common. Pictures of equal recipes may share a call.

    Attributes:
        width: of what the pipeline draws, in pixels.
        strength: how far from the given picture, 0 to 1; None where the pipeline has none.
        scheduler: by its common name; None: the checkpoint's own.
        clip_skip: layers of the text encoder that are left out at its end.
        extra: further arguments of the pipeline's call, as (name, value), sorted.
        image_prompt: how strongly an IP-Adapter follows the first reference; None: there is none.
        tile: side in pixels of the parts that the denoiser looks at; None: at the whole.
    """

    mode: Mode
    width: int
    height: int
    steps: int
    guidance_scale: float
    strength: float | None = None
    scheduler: str | None = None
    clip_skip: int | None = None
    loras: tuple[Adapter, ...] = ()
    textual_inversions: tuple[Adapter, ...] = ()
    extra: tuple[tuple[str, Any], ...] = ()
    image_prompt: float | None = None
    tile: int | None = None


@dataclass(frozen=True, slots=True)
class VideoRecipe(Recipe):
    """The same of a video, of which each is drawn by itself.

    Attributes:
        frames: how many; those that the pipeline's class draws.
        fps: frames a second that are played, which some models are told.
    """

    frames: int = 1
    fps: int = 1


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a tile lies: its left and top, in pixels, of a whole of this width and height.

    The whole has one noise, which `seed` gives.
    """

    corner: tuple[int, int]
    whole: tuple[int, int]
    seed: int


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to draw.

    Attributes:
        owner: number of its request in the batch.
        index: its number in its request.
        previews: how many pictures of its making are to be shown.
        preview_format: png, jpeg or webp.
        image: Pillow RGB of the recipe's size, to start from.
        mask: Pillow L of that size; 255 is drawn anew, 0 stays.
        references: Pillow RGB of any size, for a pipeline that looks at pictures.
        spot: of a tile that is drawn by itself.
    """

    prompt: str
    negative_prompt: str | None
    seed: int
    owner: int = 0
    index: int = 0
    previews: int = 0
    preview_format: str = "png"
    image: Any = None
    mask: Any = None
    references: tuple[Any, ...] = field(default=())
    spot: Spot | None = None
