"""A scheduler for each run: the model's own, or the one a request names.

Schedulers keep state, so every run has its own; what the model was trained with (noise levels, what
it predicts) always comes from the model's.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from onebox.imaging.diffusion.flow_solvers import create_flow_scheduler
from onebox.imaging.diffusion.scheduler_names import (
    FLOW_SAMPLERS,
    NOISE_SAMPLERS,
    SPACINGS,
    Choice,
    Sampler,
    read_name,
    unknown,
)

# Pipelines that call their scheduler in a way of their own, and what fits beside it.
OWN_WAY: Mapping[str, frozenset[str]] = {
    "LatentConsistencyModelPipeline": frozenset({"lcm", "tcd"}),
    "LatentConsistencyModelImg2ImgPipeline": frozenset({"lcm", "tcd"}),
    # It reads noise levels out of the scheduler, scaled as these scale them.
    "StableDiffusionLatentUpscalePipeline": frozenset({"euler", "euler_a"}),
    # Its timesteps stand for the strength of the noise, which others cannot give.
    "StableVideoDiffusionPipeline": frozenset({"euler"}),
}
# A run of one step takes the second thing that the scheduler answers, which many have not: what it
# believes the picture to be. After the only step that is the same.
ONE_STEP_ASKS_TWICE = frozenset({"PixArtAlphaPipeline"})
# Those a distilled model's steps are chosen from; more steps than these cannot be.
DISTILLED = frozenset({"LCMScheduler", "TCDScheduler"})
# Samplers that look ahead lose their way in a first step from noise without end: above so much
# noise for each part of signal its growth is held back.
MUCH_NOISE = 30.0
HELD_BACK = 0.1


def create_scheduler(pipeline: Any, name: str | None, steps: int | None = None) -> Any:
    """A scheduler with state of its own for a pipeline; no name means the model's own.

    Raises InvalidInput for a name that is unknown or does not fit, naming those that do.
    """
    scheduler = _create(pipeline, read_name(name), str(name), steps)
    _start_at_first(scheduler)
    if steps == 1 and type(pipeline).__name__ in ONE_STEP_ASKS_TWICE:
        _answer_twice(scheduler)
    return scheduler


def _create(pipeline: Any, choice: Choice | None, name: str, steps: int | None) -> Any:
    own = pipeline.scheduler
    if choice is None:
        return own.from_config(own.config, **_room_for(type(own), own.config, steps))
    fits = fitting(pipeline)
    if choice.sampler not in fits:
        raise unknown(name, fits, f"it does not fit {type(pipeline).__name__}")
    if predicts_flow(own):
        if choice.spacing is not None:
            raise unknown(name, fits, "the noise levels of this model are its own")
        return create_flow_scheduler(FLOW_SAMPLERS[choice.sampler], own.config)
    return _noise_scheduler(own.config, NOISE_SAMPLERS[choice.sampler], choice, steps)


def _start_at_first(scheduler: Any) -> None:
    """Let a run begin with its first step, unless the pipeline says with which.

    By itself a scheduler looks for the first step by its timestep. Some spacings have several of
    the same, and it would take a later one, and run out of steps.
    """
    if not hasattr(scheduler, "set_begin_index"):
        return
    set_timesteps = scheduler.set_timesteps

    # Pipelines ask for its parameters, which `wraps` passes on.
    @functools.wraps(set_timesteps)
    def set_and_start(*args: Any, **more: Any) -> None:
        set_timesteps(*args, **more)
        scheduler.set_begin_index(0)

    scheduler.set_timesteps = set_and_start


def _answer_twice(scheduler: Any) -> None:
    step = scheduler.step

    # Pipelines ask for its parameters, which `wraps` passes on.
    @functools.wraps(step)
    def answering(*args: Any, **more: Any) -> Any:
        answer = step(*args, **more)
        return answer if len(answer) > 1 else (*answer, *answer)

    scheduler.step = answering


def fitting(pipeline: Any) -> tuple[str, ...]:
    """Names of the samplers that a pipeline's model can be drawn with, beside its own."""
    own = pipeline.scheduler
    if predicts_flow(own):
        return tuple(FLOW_SAMPLERS)
    if type(own).__name__ not in {sampler.class_name for sampler in NOISE_SAMPLERS.values()}:
        return ()
    limited = OWN_WAY.get(type(pipeline).__name__)
    return tuple(name for name in NOISE_SAMPLERS if limited is None or name in limited)


def predicts_flow(scheduler: Any) -> bool:
    """Whether the model goes straight from noise to picture: other schedulers cannot draw it."""
    config = scheduler.config
    return bool(
        type(scheduler).__name__.startswith("FlowMatch")
        or config.get("use_flow_sigmas")
        or config.get("prediction_type") == "flow_prediction"
    )


def _noise_scheduler(
    config: Mapping[str, Any], sampler: Sampler, choice: Choice, steps: int | None
) -> Any:
    import diffusers

    cls = getattr(diffusers, sampler.class_name)
    # Left from the model's scheduler, these would make it another sampler than the named one.
    plain = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}
    options = {
        **plain,
        # Latents have no bounds to be clipped to.
        "clip_sample": False,
        "thresholding": False,
        **sampler.options,
        **(SPACINGS[choice.spacing] if choice.spacing else {}),
        **_room_for(cls, config, steps),
        **_trained_noise(cls, config),
    }
    known = inspect.signature(cls).parameters
    return cls.from_config(config, **{key: options[key] for key in options if key in known})


def _room_for(cls: type, config: Mapping[str, Any], steps: int | None) -> dict[str, Any]:
    """Options that let a distilled model's scheduler take more steps than it was trained for."""
    if cls.__name__ not in DISTILLED or steps is None:
        return {}
    trained = config.get("original_inference_steps", 50)
    return {"original_inference_steps": steps} if steps > trained else {}


def _trained_noise(cls: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """Noise levels for a model that starts from noise alone, for a class that cannot make them.

    Shape of `trained_betas`: (training steps,).
    """
    known = inspect.signature(cls).parameters
    if not config.get("rescale_betas_zero_snr") or "rescale_betas_zero_snr" in known:
        return {}
    import torch
    from diffusers import DDIMScheduler

    signal = DDIMScheduler.from_config(config).alphas_cumprod.double().clamp(min=2.0**-24)
    noise = (1 / signal - 1) ** 0.5
    held_back = MUCH_NOISE * (noise / MUCH_NOISE) ** HELD_BACK
    signal = 1 / (1 + torch.where(noise > MUCH_NOISE, held_back, noise) ** 2)
    before = torch.cat([torch.ones(1, dtype=signal.dtype), signal[:-1]])
    return {"trained_betas": (1 - signal / before).tolist()}
