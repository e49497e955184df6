"""Schedulers for flow-matching models (SD3, FLUX): the model's own noise levels, another solver.

diffusers lets its other solvers make up noise levels of their own, which know nothing of a shift
that depends on the picture's size, and its pipelines call some of them in ways they do not take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onebox.imaging.diffusion.scheduler_names import Sampler

EULER = "FlowMatchEulerDiscreteScheduler"
HEUN = "FlowMatchHeunDiscreteScheduler"
# The solvers divide by what is not noise, of which a run's start has nothing.
MOST_NOISE = 1 - 1e-3


def create_flow_scheduler(sampler: Sampler, config: Mapping[str, Any]) -> Any:
    """A scheduler over the noise levels that a model's own scheduler, of `config`, would take."""
    import diffusers

    levels = diffusers.FlowMatchEulerDiscreteScheduler.from_config(config, **_shift(config))
    if sampler.class_name == EULER:
        return levels
    base = getattr(diffusers, sampler.class_name)
    if sampler.class_name == HEUN:
        return _over(base, levels, _twice)()
    return _over(base, levels, _below_all_noise)(
        num_train_timesteps=levels.config.num_train_timesteps,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        **sampler.options,
    )


def _shift(config: Mapping[str, Any]) -> dict[str, Any]:
    """What schedulers of other classes call their shift."""
    return {"shift": config["flow_shift"]} if "flow_shift" in config else {}


def _over(base: type, levels: Any, spread: Any) -> Any:
    """A subclass of a scheduler that takes its noise levels from another one."""

    def set_timesteps(
        self: Any,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Any = None,
        mu: float | None = None,
        timesteps: Any = None,
    ) -> None:
        levels.set_timesteps(
            num_inference_steps, device=device, sigmas=sigmas, mu=mu, timesteps=timesteps
        )
        base.set_timesteps(self, len(levels.timesteps), device)  # type: ignore[attr-defined]
        self.sigmas, self.timesteps = spread(levels.sigmas, levels.timesteps)

    def scale_noise(self: Any, sample: Any, timestep: Any, noise: Any) -> Any:
        return self.add_noise(sample, noise, timestep)

    own: dict[str, Any] = {"set_timesteps": set_timesteps}
    if not hasattr(base, "scale_noise"):
        own["scale_noise"] = scale_noise
    return type(base.__name__, (base,), own)


def _twice(sigmas: Any, timesteps: Any) -> tuple[Any, Any]:
    """For a solver that asks the model twice a step, once for the last: shapes (2n,), (2n-1,)."""
    import torch

    times = torch.cat([timesteps[:1], timesteps[1:].repeat_interleave(2)])
    return torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]]), times


def _below_all_noise(sigmas: Any, timesteps: Any) -> tuple[Any, Any]:
    return sigmas.clamp(max=MOST_NOISE).to("cpu"), timesteps
