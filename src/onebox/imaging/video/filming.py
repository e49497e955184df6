"""`film`: one video by a loaded pipeline, its frames decoded a few at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from onebox.core.clips import Clip
from onebox.core.contracts import RunContext
from onebox.hardware.picture_rules import GENERATOR_DEVICE, no_numbers
from onebox.imaging.diffusion import precision
from onebox.imaging.diffusion.adapters import applied
from onebox.imaging.diffusion.compiling import can_be_compiled, running
from onebox.imaging.diffusion.drawing import step_callback
from onebox.imaging.diffusion.memory_modes import memory_mode
from onebox.imaging.diffusion.previews import create_previews
from onebox.imaging.diffusion.prompts import prompt_arguments
from onebox.imaging.diffusion.recipe import Picture, VideoRecipe
from onebox.imaging.diffusion.schedulers import create_scheduler
from onebox.imaging.diffusion.views import view_as
from onebox.imaging.video.abilities import ability_of
from onebox.imaging.video.decoding import decoded
from onebox.imaging.video.latents import latents_of, middle_frame, surplus_frames

log = structlog.get_logger(__name__)


def film(
    bundle: Any, shot: Picture, recipe: VideoRecipe, class_name: str, context: RunContext
) -> Clip:
    """The frames of one video, drawn from a CPU generator of its own.

    Args:
        shot: what to film; its `image` is of the recipe's size.
        class_name: of the pipeline that does it with the bundle's weights.

    Raises:
        InferenceFailed: what came out were no numbers, in full precision neither.
    """
    with (
        precision.as_loaded(bundle),
        running(bundle, compiled=can_be_compiled(recipe)),
        applied(bundle, recipe, context),
    ):
        view = view_as(
            bundle.pipeline,
            class_name,
            # It keeps state, so every call has its own; the weights are shared.
            create_scheduler(bundle.pipeline, recipe.scheduler, recipe.steps),
        )
        context.check()
        with memory_mode(view, False, context.lean):
            latents, generator = _drawn(bundle, view, shot, recipe, context)
            chunks = decoded(
                view,
                latents,
                frames=recipe.frames,
                width=recipe.width,
                height=recipe.height,
                generator=generator,
                context=context,
            )
            return Clip(list(chunks), recipe.fps)


def _drawn(
    bundle: Any, view: Any, shot: Picture, recipe: VideoRecipe, context: RunContext
) -> tuple[Any, Any]:
    """The latents and their generator; in full precision where half of it was not enough."""
    import torch

    latents, generator = _call(bundle, view, shot, recipe, context)
    if torch.isfinite(latents).all():
        return latents, generator
    if precision.can_be_raised(view):
        log.warning("drawn_again_in_full_precision", model=context.entry.name)
        view.scheduler = create_scheduler(bundle.pipeline, recipe.scheduler, recipe.steps)
        with precision.full_precision(bundle), running(bundle, compiled=False):
            latents, generator = _call(bundle, view, replace(shot, previews=0), recipe, context)
        if torch.isfinite(latents).all():
            return latents, generator
    raise no_numbers(context.entry.name, context.device)


def _call(
    bundle: Any, view: Any, shot: Picture, recipe: VideoRecipe, context: RunContext
) -> tuple[Any, Any]:
    import torch

    generator = torch.Generator(GENERATOR_DEVICE).manual_seed(shot.seed)
    show = create_previews(bundle, view, [shot], recipe, context, shown=middle_frame(view, recipe))
    last: Any = None

    def told(step: int, steps: int, latents: Any) -> None:
        nonlocal last
        last = latents
        if show is not None:
            show(step, steps, latents)

    arguments = {
        **_prompts(view, shot, recipe),
        **_shot(view, shot, recipe),
        **dict(recipe.extra),
        "generator": generator,
        "output_type": "latent",
        **step_callback(view, (0, 1), told, context),
    }
    with torch.inference_mode():
        result = view(**arguments)
    return latents_of(view, result.frames, last), generator


def _prompts(view: Any, shot: Picture, recipe: VideoRecipe) -> Mapping[str, Any]:
    if not ability_of(type(view).__name__).reads:
        return {}
    return prompt_arguments(view, [shot], recipe)


def _shot(view: Any, shot: Picture, recipe: VideoRecipe) -> Mapping[str, Any]:
    """What its call takes beside prompts and generator."""
    ability = ability_of(type(view).__name__)
    given = {
        "width": recipe.width,
        "height": recipe.height,
        "num_frames": recipe.frames + surplus_frames(view),
        "num_inference_steps": recipe.steps,
        ability.guidance_argument: recipe.guidance_scale,
    }
    if ability.fps_argument is not None:
        given[ability.fps_argument] = recipe.fps
    if recipe.mode == "image-to-video":
        given["image"] = shot.image
    return given
