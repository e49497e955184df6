"""What a run believes its picture to be: the latents without the noise, as of its latest step.

The latents of the first steps are nearly all noise; what the model takes to be under it already has
the picture's colours and layout.
"""

from __future__ import annotations

import functools
from typing import Any

from onebox.imaging.diffusion.schedulers import predicts_flow

LEAST_SIGNAL = 1e-8


class Belief:
    """Listens to a scheduler of one run, and says what its latest step was told."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._told: tuple[Any, Any, Any] | None = None
        step = scheduler.step

        # Pipelines ask for its parameters, which `wraps` passes on.
        @functools.wraps(step)
        def listening(output: Any, timestep: Any, sample: Any, *args: Any, **more: Any) -> Any:
            self._told = (output, timestep, sample)
            return step(output, timestep, sample, *args, **more)

        scheduler.step = listening

    def latents(self, after: Any) -> Any:
        """Of the latest step, in float32; `after` are those with noise, if there is no telling."""
        if self._told is None or not can_tell(self._scheduler):
            return after.float()
        return without_noise(self._scheduler, *self._told)


def can_tell(scheduler: Any) -> bool:
    return predicts_flow(scheduler) or hasattr(scheduler, "alphas_cumprod")


def without_noise(scheduler: Any, output: Any, timestep: Any, sample: Any) -> Any:
    """The latents under the noise of `sample`, given what the model made of it, in float32."""
    output, sample = output.float(), sample.float()
    if predicts_flow(scheduler):
        return sample - float(timestep) / scheduler.config.num_train_timesteps * output
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


def _signal(scheduler: Any, timestep: float) -> float:
    """How much of the variance at a timestep, which need not be whole, is the picture's."""
    known = scheduler.alphas_cumprod
    low = min(max(int(timestep), 0), len(known) - 1)
    high = min(low + 1, len(known) - 1)
    part = min(max(timestep - low, 0.0), 1.0)
    return max(float(known[low]) * (1 - part) + float(known[high]) * part, LEAST_SIGNAL)
