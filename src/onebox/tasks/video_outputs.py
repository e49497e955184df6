"""What a task that drew a video returns: the video, and pictures of it where they are wanted."""

from __future__ import annotations

from typing import Any

from onebox.core.clips import Clip
from onebox.core.contracts import Entry
from onebox.core.results import Output
from onebox.imaging.diffusion.recipe import Picture, VideoRecipe
from onebox.imaging.video.stills import sprite_sheet, thumbnail
from onebox.tasks.video_input import VideoInput

VIDEO, THUMBNAIL, SPRITESHEET = "video", "thumbnail", "spritesheet"
# As OpenAI's API has them.
THUMBNAIL_OPTIONS = {"format": "webp", "quality": 85}
SPRITESHEET_OPTIONS = {"format": "jpeg", "quality": 85}


def outputs_of(
    clip: Clip, request: VideoInput, shot: Picture, recipe: VideoRecipe, entry: Entry
) -> list[Output]:
    """The video first; then its thumbnail and its sprite sheet, if the request asked for them."""
    told = {
        "seed": shot.seed,
        "frames": clip.frames,
        "fps": clip.fps,
        "seconds": clip.seconds,
    }
    embedded = _embedded(shot, recipe, entry)
    options: dict[str, Any] = {"format": request.output_format}
    if request.quality is not None:
        options["quality"] = request.quality
    size = {"width": clip.width, "height": clip.height}
    found = [Output("video", clip, options, {"variant": VIDEO, **size, **told}, embedded)]
    if request.thumbnail:
        found.append(_still(THUMBNAIL, thumbnail(clip), THUMBNAIL_OPTIONS, told))
    if request.spritesheet:
        sheet = sprite_sheet(clip)
        cells = {"columns": sheet.columns, "rows": sheet.rows, "cells": sheet.frames}
        found.append(_still(SPRITESHEET, sheet.picture, SPRITESHEET_OPTIONS, {**told, **cells}))
    return found


def _still(variant: str, picture: Any, options: dict[str, Any], told: dict[str, Any]) -> Output:
    size = {"width": picture.width, "height": picture.height}
    return Output("image", picture, dict(options), {"variant": variant, **size, **told})


def _embedded(shot: Picture, recipe: VideoRecipe, entry: Entry) -> dict[str, str]:
    embedded = {
        "prompt": shot.prompt,
        "negative_prompt": shot.negative_prompt or "",
        "seed": str(shot.seed),
        "steps": str(recipe.steps),
        "guidance_scale": str(recipe.guidance_scale),
        "scheduler": recipe.scheduler or "",
        "model": entry.name,
        "model_sha256": entry.sha256 or "",
    }
    return {name: value for name, value in embedded.items() if value}
