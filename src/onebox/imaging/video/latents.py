"""How the classes of video pipelines hold their latents, where they differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onebox.imaging.diffusion.recipe import VideoRecipe

# They hold [1, frames, channels, h, w], the others [1, channels, frames, h, w].
FRAMES_FIRST = frozenset(
    {
        "StableVideoDiffusionPipeline",
        "CogVideoXPipeline",
        "CogVideoXImageToVideoPipeline",
    }
)
# Frames at the front that HunyuanVideo drops after it has decoded them: those of its picture.
PICTURE_FRAMES = 4


def surplus_frames(view: Any) -> int:
    """How many frames a pipeline must be asked for beyond those that it gives."""
    return PICTURE_FRAMES if _shows_picture_first(view) else 0


def latents_of(view: Any, result: Any, last: Any) -> Any:
    """The latents to decode: what the call gave, or those of its last step.

    One class leaves frames out of what it gives that its decoder must see before the others.
    """
    return last if _shows_picture_first(view) else result


def middle_frame(view: Any, recipe: VideoRecipe) -> Callable[[Any], Any]:
    """What picks the latents [1, c, h, w] of the frame in the middle out of those of a step."""
    frames_first = type(view).__name__ in FRAMES_FIRST

    def pick(latents: Any) -> Any:
        if latents.ndim == 3:
            latents = _unpacked(view, latents, recipe)
        if latents.ndim == 4:
            # One class hands its frames to the scheduler as so many pictures.
            return latents[len(latents) // 2][None]
        axis = 1 if frames_first else 2
        return latents.select(axis, latents.shape[axis] // 2)

    return pick


def _shows_picture_first(view: Any) -> bool:
    if type(view).__name__ != "HunyuanVideoImageToVideoPipeline":
        return False
    return bool(view.transformer.config.image_condition_type == "latent_concat")


def _unpacked(view: Any, latents: Any, recipe: VideoRecipe) -> Any:
    """[1, tokens, values] as LTX holds them → [1, c, frames, h, w]."""
    return view._unpack_latents(
        latents,
        (recipe.frames - 1) // view.vae_temporal_compression_ratio + 1,
        recipe.height // view.vae_spatial_compression_ratio,
        recipe.width // view.vae_spatial_compression_ratio,
        view.transformer_spatial_patch_size,
        view.transformer_temporal_patch_size,
    )
