"""`draw`: pictures of one recipe by a loaded pipeline, in calls of as many as the device takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import structlog

from onebox.core.contracts import RunContext
from onebox.hardware.picture_rules import GENERATOR_DEVICE, no_numbers
from onebox.imaging.diffusion import precision
from onebox.imaging.diffusion.adapters import applied
from onebox.imaging.diffusion.compiling import can_be_compiled, running
from onebox.imaging.diffusion.image_prompts import image_prompted
from onebox.imaging.diffusion.memory_modes import memory_mode
from onebox.imaging.diffusion.previews import create_previews
from onebox.imaging.diffusion.prompts import of_one_length, prompt_arguments
from onebox.imaging.diffusion.recipe import Picture, Recipe
from onebox.imaging.diffusion.schedulers import create_scheduler
from onebox.imaging.diffusion.shared_noise import share_noise
from onebox.imaging.diffusion.tiled_denoiser import look_at_parts
from onebox.imaging.diffusion.views import call_arguments, make_view

log = structlog.get_logger(__name__)

# Told of each step: its number from 1, how many there are, and the latents after it.
OnStep = Callable[[int, int, Any], None]


def draw(
    bundle: Any, pictures: Sequence[Picture], recipe: Recipe, batch: int, context: RunContext
) -> list[Any]:
    """Pillow images of the pictures, `batch` at a time, each from a CPU generator of its own.

    Raises InferenceFailed when what came out were no numbers, in full precision neither.
    """
    images: list[Any] = []
    with (
        precision.as_loaded(bundle),
        running(bundle, compiled=can_be_compiled(recipe)),
        applied(bundle, recipe, context),
        image_prompted(bundle, pictures, recipe, context) as arguments,
    ):
        runs = of_one_length(bundle.pipeline, pictures, recipe)
        calls = [run[at : at + batch] for run in runs for at in range(0, len(run), batch)]
        for number, call in enumerate(calls):
            images += _checked(bundle, call, recipe, (number, len(calls)), context, arguments)
    return images


def _checked(
    bundle: Any,
    pictures: Sequence[Picture],
    recipe: Recipe,
    place: tuple[int, int],
    context: RunContext,
    arguments: dict[str, Any],
) -> list[Any]:
    """The pictures of one call; `place` is its number and how many there are."""
    drawn = _call(bundle, pictures, recipe, place, context, arguments)
    suspect = any(precision.is_wrong(p) or precision.is_black(p) for p in drawn)
    if suspect and precision.can_be_raised(bundle.pipeline):
        log.warning("drawn_again_in_full_precision", model=context.entry.name)
        unseen = [replace(picture, previews=0) for picture in pictures]
        with precision.full_precision(bundle), running(bundle, compiled=False):
            drawn = _call(bundle, unseen, recipe, place, context, arguments)
    if any(map(precision.is_wrong, drawn)):
        raise no_numbers(context.entry.name, context.device)
    return [precision.to_pillow(pixels) for pixels in drawn]


def _call(
    bundle: Any,
    pictures: Sequence[Picture],
    recipe: Recipe,
    place: tuple[int, int],
    context: RunContext,
    arguments: dict[str, Any],
) -> list[Any]:
    """Tensors [3, h, w] between 0 and 1, one a picture."""
    import torch

    # The scheduler keeps state, so every call has its own; the weights are shared.
    scheduler = create_scheduler(bundle.pipeline, recipe.scheduler, recipe.steps)
    share_noise(scheduler, pictures, recipe)
    view = make_view(bundle.pipeline, recipe.mode, scheduler)
    if recipe.tile is not None:
        look_at_parts(view, recipe.tile, context.device, lean=context.lean)
    in_tiles = context.lean or recipe.tile is not None
    context.check()
    with torch.inference_mode(), memory_mode(view, len(pictures) > 1, in_tiles):
        result = view(
            **prompt_arguments(view, pictures, recipe),
            **call_arguments(view, pictures, recipe),
            **arguments,
            **dict(recipe.extra),
            generator=[torch.Generator(GENERATOR_DEVICE).manual_seed(p.seed) for p in pictures],
            output_type="pt",
            **step_callback(
                view, place, create_previews(bundle, view, pictures, recipe, context), context
            ),
        )
    return list(result.images)


def step_callback(
    view: Any, place: tuple[int, int], show: OnStep | None, context: RunContext
) -> dict[str, Any]:
    """The arguments that make a pipeline tell of its steps: a few old classes have another way.

    `place` is the call's number among how many calls, `show` is told of each step.
    """
    number, calls = place
    done = 0

    def tell(steps: int, latents: Any) -> None:
        nonlocal done
        done += 1
        if show is not None and latents is not None:
            show(done, steps, latents)
        context.step(number * steps + done, calls * steps)

    def on_step_end(running: Any, step: int, timestep: Any, tensors: Any) -> Any:
        tell(running.num_timesteps, tensors.get("latents"))
        return tensors

    def on_step(step: int, timestep: Any, latents: Any) -> None:
        # Told once for each step, however often a scheduler asks the model in one.
        scheduler = view.scheduler
        asked = min(len(scheduler.timesteps), scheduler.num_inference_steps * scheduler.order)
        tell(-(-asked // scheduler.order), latents)

    if "callback_on_step_end" in inspect.signature(type(view).__call__).parameters:
        return {"callback_on_step_end": on_step_end}
    return {"callback": on_step, "callback_steps": 1}
