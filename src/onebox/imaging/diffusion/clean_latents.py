"""What a run believes its picture to be: the latents without the noise, as of its latest step.

The latents of the first steps are nearly all noise; what the model takes to be under it already has
the picture's colours and layout.
"""

from __future__ import annotations

import functools
import inspect
import math
from typing import Any

from onebox.imaging.diffusion.schedulers import predicts_flow

LEAST_SIGNAL = 1e-8


class Belief:
    """Listens to a scheduler of one run, and says what its latest step was told."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._told: tuple[Any, Any, Any, float | None] | None = None
        step = scheduler.step
        signature = inspect.signature(step)

        # Pipelines ask for its parameters, which `wraps` passes on.
        @functools.wraps(step)
        def listening(*args: Any, **more: Any) -> Any:
            # They have an order of their own in some classes, but the same names in all.
            told = signature.bind(*args, **more).arguments
            level = _level(scheduler, told["timestep"])
            self._told = (told["model_output"], told["timestep"], told["sample"], level)
            return step(*args, **more)

        scheduler.step = listening

    def latents(self, after: Any) -> Any:
        """Of the latest step, in float32; `after` are those with noise, if there is no telling."""
        if self._told is None or not can_tell(self._scheduler):
            return after.float()
        return without_noise(self._scheduler, *self._told)


def can_tell(scheduler: Any) -> bool:
    return predicts_flow(scheduler) or hasattr(scheduler, "alphas_cumprod")


def without_noise(
    scheduler: Any, output: Any, timestep: Any, sample: Any, level: float | None = None
) -> Any:
    """The latents under the noise of `sample`, given what the model made of it, in float32.

    `level` is the part of a flow that is noise, where the timestep does not tell it.
    """
    output, sample = output.float(), sample.float()
    if predicts_flow(scheduler):
        if level is None:
            level = float(timestep) / scheduler.config.num_train_timesteps
        return sample - level * output
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return output
    signal = _signal(scheduler, float(timestep))
    here, noise = signal**0.5, (1 - signal) ** 0.5
    # Some schedulers' latents are the picture and noise of that strength added, not mixed.
    if float(scheduler.init_noise_sigma) != 1:
        sample = sample * here
    return (
        here * sample - noise * output
        if kind == "v_prediction"
        else (sample - noise * output) / here
    )


def _level(scheduler: Any, timestep: Any) -> float | None:
    """The part of a flow that is noise: CogView 4 tells its model other timesteps than its
    scheduler's noise levels. None for a scheduler that keeps no levels.
    """
    if not predicts_flow(scheduler) or not hasattr(scheduler, "sigmas"):
        return None
    number = int((scheduler.timesteps - float(timestep)).abs().argmin())
    return float(scheduler.sigmas[number])


def _signal(scheduler: Any, timestep: float) -> float:
    """How much of the variance at a timestep, which need not be whole, is the picture's."""
    if scheduler.config.get("timestep_type") == "continuous":
        # Timesteps that stand for the strength of the noise, as Stable Video Diffusion has them.
        return max(1 / (1 + math.exp(4 * timestep) ** 2), LEAST_SIGNAL)
    known = scheduler.alphas_cumprod
    low = min(max(int(timestep), 0), len(known) - 1)
    high = min(low + 1, len(known) - 1)
    part = min(max(timestep - low, 0.0), 1.0)
    return max(float(known[low]) * (1 - part) + float(known[high]) * part, LEAST_SIGNAL)
