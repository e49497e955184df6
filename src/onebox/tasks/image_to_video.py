"""Task `image-to-video`: a video that goes on from a picture.

curl -s localhost:8000/v1/tasks/image-to-video -H "Authorization: Bearer $KEY" \\
     -F model=ltx-video -F image=@boat.png -F prompt="the boat sails away" \\
     -H 'Accept: video/mp4' -o boat.mp4
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field

from onebox.core.contracts import Entry, RunContext
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.imaging.diffusion.recipe import Picture, VideoRecipe
from onebox.imaging.diffusion.sizes import Size, of_area
from onebox.imaging.opening import open_picture
from onebox.imaging.video.abilities import IMAGE, ability_of
from onebox.tasks.picture_input import MAX_PROMPT
from onebox.tasks.picture_recipe import filling, size_for, size_of
from onebox.tasks.video_input import VideoInput
from onebox.tasks.video_task import VideoTask


class ImageToVideoInput(VideoInput):
    """What to start from, and what is to happen."""

    image: MediaRef = Field(description="PNG, JPEG or WebP: the first frame.")
    prompt: str = Field(
        default="",
        max_length=MAX_PROMPT,
        description="Models without a text encoder (Stable Video Diffusion) go by the picture "
        "alone.",
    )
    motion_bucket_id: int | None = Field(
        default=None, ge=0, le=255, description="How much moves, for Stable Video Diffusion: 127."
    )
    noise_aug_strength: float | None = Field(
        default=None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="How far from the picture, for Stable Video Diffusion: 0.02.",
    )


# Fields that only Stable Video Diffusion has an argument for.
OF_MOTION = ("motion_bucket_id", "noise_aug_strength")


class ImageToVideo(VideoTask[ImageToVideoInput]):
    name = "image-to-video"
    summary = "Make a video that goes on from a picture"
    mode = IMAGE
    Input = ImageToVideoInput

    def size(self, request: ImageToVideoInput, entry: Entry) -> Size:
        """As asked for, or in the picture's shape about as many pixels as the model learnt."""
        learnt = super().size(request, entry)
        # What is no picture is refused here, also where its size does not matter.
        picture = size_of(request.image, "image")
        if request.width is not None and request.height is not None:
            return learnt
        if request.width is None and request.height is None:
            return of_area(picture, learnt[0] * learnt[1], entry.facts["multiple"])
        return size_for(picture, entry, (request.width, request.height))

    def extra(self, request: ImageToVideoInput) -> dict[str, Any]:
        given = {name: getattr(request, name) for name in OF_MOTION}
        return {name: value for name, value in given.items() if value is not None}

    def check(self, request: ImageToVideoInput, entry: Entry) -> None:
        super().check(request, entry)
        reads = ability_of(entry.kind or "").reads
        if not reads and request.negative_prompt:
            raise InvalidInput(
                f"{entry.name} reads no text; leave negative_prompt out", param="negative_prompt"
            )
        given = self.extra(request)
        if reads and given:
            name = next(iter(given))
            raise InvalidInput(
                f"{entry.name} has no {name}, which belongs to Stable Video Diffusion; leave it "
                "out",
                param=name,
            )

    def shot(self, request: ImageToVideoInput, recipe: VideoRecipe, context: RunContext) -> Picture:
        picture = open_picture(context.read(request.image), "image")
        start = filling(picture, (recipe.width, recipe.height))
        return replace(self.plain_shot(request), image=start)


TASKS.register(ImageToVideo.name, ImageToVideo())
