"""Running a diffusers image pipeline for tasks: batches, generators, steps, lean memory."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from onebox.core.contracts import Device, RunContext

# Pixels that one call may work on: a batch of small pictures costs little more than one of them,
# while big ones fill the device alone.
BATCH_PIXELS = {"cpu": 4 * 512 * 512}
OTHER_BATCH_PIXELS = 8 * 1024 * 1024
MAX_BATCH = 8


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to draw; those of one call differ in nothing else."""

    prompt: str
    negative_prompt: str | None
    seed: int


def batch_size(device: Device, pixels: int) -> int:
    """How many pictures of so many pixels one call may draw on the device.

    On MPS one: batches of pictures have come out wrong there (diffusers issues 1056, 2521).
    """
    if device.kind == "mps":
        return 1
    limit = BATCH_PIXELS.get(device.kind, OTHER_BATCH_PIXELS)
    return max(1, min(MAX_BATCH, limit // max(1, pixels)))


def draw(
    pipeline: Any,
    pictures: Sequence[Picture],
    batch: int,
    context: RunContext,
    **arguments: Any,
) -> list[Any]:
    """Pillow images of the pictures, drawn `batch` at a time with one CPU generator each."""
    images: list[Any] = []
    calls = [pictures[start : start + batch] for start in range(0, len(pictures), batch)]
    for number, call in enumerate(calls):
        images += _call(pipeline, call, (number, len(calls)), context, arguments)
    return images


def _call(
    pipeline: Any,
    pictures: Sequence[Picture],
    place: tuple[int, int],
    context: RunContext,
    arguments: dict[str, Any],
) -> list[Any]:
    """One pipeline call; `place` is its number and how many there are."""
    import torch

    # The scheduler keeps state, so every call has its own; the weights are shared.
    scheduler = pipeline.scheduler.from_config(pipeline.scheduler.config)
    view = _view(pipeline, scheduler)
    context.check()
    negative = [picture.negative_prompt or "" for picture in pictures]
    if any(negative):
        arguments = {**arguments, "negative_prompt": negative}
    with torch.inference_mode(), _memory_mode(view, len(pictures) > 1, context.lean):
        result = view(
            prompt=[picture.prompt for picture in pictures],
            generator=[torch.Generator("cpu").manual_seed(p.seed) for p in pictures],
            **_step_callback(view, place, context),
            **arguments,
        )
    return list(result.images)


def _step_callback(view: Any, place: tuple[int, int], context: RunContext) -> dict[str, Any]:
    """The arguments that make a pipeline tell of its steps: a few old classes have another way."""
    number, calls = place
    done = 0

    def tell(steps: int) -> None:
        nonlocal done
        done += 1
        context.step(number * steps + done, calls * steps)

    def on_step_end(running: Any, step: int, timestep: Any, tensors: Any) -> Any:
        tell(running.num_timesteps)
        return tensors

    def on_step(step: int, timestep: Any, latents: Any) -> None:
        tell(len(view.scheduler.timesteps))

    if "callback_on_step_end" in inspect.signature(type(view).__call__).parameters:
        return {"callback_on_step_end": on_step_end}
    return {"callback": on_step, "callback_steps": 1}


@contextlib.contextmanager
def _memory_mode(view: Any, several: bool, lean: bool) -> Iterator[None]:
    """Decode the pictures of a batch one by one; when memory is short, also in tiles."""
    vae = getattr(view, "vae", None)
    wanted = [name for name, on in (("slicing", several or lean), ("tiling", lean)) if on]
    # What is on already was switched on by the run that this one is nested in.
    off = [name for name in wanted if not getattr(vae, f"use_{name}", False)]
    switches = [name for name in off if hasattr(vae, f"enable_{name}")]
    _each(vae, "enable", switches)
    try:
        yield
    finally:
        _each(vae, "disable", switches)


def _each(vae: Any, verb: str, switches: Sequence[str]) -> None:
    for name in switches:
        switch: Callable[[], None] = getattr(vae, f"{verb}_{name}")
        switch()


def _view(pipeline: Any, scheduler: Any) -> Any:
    """A pipeline over the same weights with state of its own."""
    extra = {"requires_safety_checker": False} if "safety_checker" in pipeline.components else {}
    view = type(pipeline)(**{**pipeline.components, "scheduler": scheduler}, **extra)
    view.set_progress_bar_config(disable=True)
    return view
