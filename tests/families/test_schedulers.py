"""Schedulers by name: each finds its way to a known picture, for both kinds of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onebox.core.errors import InvalidInput
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.imaging.diffusion.clean_latents import Belief
from onebox.imaging.diffusion.scheduler_names import FLOW_SAMPLERS, NAMES, NOISE_SAMPLERS
from onebox.imaging.diffusion.schedulers import create_scheduler, fitting
from tests.families.pictures import draw

SPACED = [
    f"{name}_{spacing}"
    for name, sampler in NOISE_SAMPLERS.items()
    if sampler.sigmas
    for spacing in ("karras", "exponential")
]


class Pipeline:
    """What a scheduler is made for, without a model."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler


class LatentConsistencyModelPipeline(Pipeline):
    pass


def noise_taker(**config: Any) -> Pipeline:
    from diffusers import DDIMScheduler

    own = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "steps_offset": 1,
    }
    return Pipeline(DDIMScheduler(**{**own, **config}))


def flow(**config: Any) -> Pipeline:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return Pipeline(FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **config}))


def picture() -> Any:
    import torch

    return torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(5))


def drawn(scheduler: Any, prediction: str, steps: int) -> Any:
    """What comes of a run with a model that knows the picture exactly."""
    import torch

    wanted, chance = picture(), torch.Generator().manual_seed(1)
    scheduler.set_timesteps(steps)
    latents = torch.randn(wanted.shape, generator=chance) * scheduler.init_noise_sigma
    takes_chance = "generator" in scheduler.step.__code__.co_varnames
    for timestep in scheduler.timesteps:
        seen = scheduler.scale_model_input(latents, timestep)
        signal = scheduler.alphas_cumprod[int(timestep.round())].clamp(min=1e-8)
        noise = (seen - signal**0.5 * wanted) / (1 - signal) ** 0.5
        velocity = signal**0.5 * noise - (1 - signal) ** 0.5 * wanted
        answer = velocity if prediction == "v_prediction" else noise
        more = {"generator": chance} if takes_chance else {}
        latents = scheduler.step(answer, timestep, latents, **more, return_dict=False)[0]
    return latents


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", [*NAMES, *SPACED, "euler_sgm_uniform", None])
def test_every_scheduler_finds_the_picture(name: str | None, prediction: str) -> None:
    pipeline = noise_taker(prediction_type=prediction)
    latents = drawn(create_scheduler(pipeline, name, 12), prediction, 12)
    assert float((latents - picture()).abs().mean()) < 0.2


@pytest.mark.parametrize("name", [*NAMES, None])
def test_every_scheduler_can_start_from_noise_alone(name: str | None) -> None:
    """Models of that kind, such as onebox-shapes, have no picture at all in their first step."""
    pipeline = noise_taker(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    latents = drawn(create_scheduler(pipeline, name, 12), "v_prediction", 12)
    assert float((latents - picture()).abs().mean()) < 0.3


@pytest.mark.parametrize("name", SPACED)
def test_timesteps_that_are_there_twice_are_all_taken(name: str) -> None:
    """With many steps the first ones of a spacing are so near that they have one number."""
    pipeline = noise_taker(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    latents = drawn(create_scheduler(pipeline, name, 30), "v_prediction", 30)
    assert float((latents - picture()).abs().mean()) < 0.2


@pytest.mark.parametrize("name", [*FLOW_SAMPLERS, None])
@pytest.mark.parametrize("steps", [1, 2, 6])
def test_flow_schedulers_find_the_picture_from_any_noise_level(
    name: str | None, steps: int
) -> None:
    import torch

    wanted = picture()
    for start in (0, steps // 2):
        scheduler = create_scheduler(flow(), name)
        scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)])
        first = start * scheduler.order
        scheduler.set_begin_index(first)
        timesteps = scheduler.timesteps[first:]
        noise = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
        latents = scheduler.scale_noise(wanted, timesteps[:1], noise)
        for timestep in timesteps:
            # The flow goes in a straight line from the picture to the noise.
            latents = scheduler.step(noise - wanted, timestep, latents, return_dict=False)[0]
        torch.testing.assert_close(latents, wanted, atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["dpmpp_2m", "unipc", "heun"])
def test_flow_schedulers_take_the_models_own_noise_levels(name: str) -> None:
    import torch

    pipeline = flow(use_dynamic_shifting=True)
    given = {"sigmas": [1.0, 0.75, 0.5, 0.25], "mu": 0.9}
    own, other = create_scheduler(pipeline, None), create_scheduler(pipeline, name)
    own.set_timesteps(**given)
    other.set_timesteps(**given)
    assert torch.equal(other.timesteps.unique(), own.timesteps.unique())


@pytest.mark.parametrize("name", ["ddim", "euler_a", "lcm", "dpmpp_2m_sde"])
def test_a_flow_model_refuses_other_schedulers_and_names_its_own(name: str) -> None:
    with pytest.raises(InvalidInput, match="does not fit Pipeline; use dpmpp_2m, ") as refused:
        create_scheduler(flow(), name)
    assert refused.value.details["allowed"] == sorted(FLOW_SAMPLERS)


def test_a_flow_model_keeps_its_noise_levels() -> None:
    with pytest.raises(InvalidInput, match="noise levels of this model are its own"):
        create_scheduler(flow(), "euler_karras")


def test_a_model_with_a_scheduler_of_its_own_kind_takes_no_other() -> None:
    from diffusers import CogVideoXDDIMScheduler

    pipeline = Pipeline(CogVideoXDDIMScheduler())
    assert fitting(pipeline) == ()
    assert type(create_scheduler(pipeline, None)) is CogVideoXDDIMScheduler
    with pytest.raises(InvalidInput, match="leave it out for the model's own"):
        create_scheduler(pipeline, "euler")


def test_a_distilled_model_takes_the_schedulers_it_was_distilled_for() -> None:
    pipeline = LatentConsistencyModelPipeline(noise_taker().scheduler)
    assert fitting(pipeline) == ("lcm", "tcd")


@pytest.mark.parametrize("name", ["lcm", "tcd"])
def test_a_distilled_models_scheduler_takes_more_steps_than_it_was_trained_for(name: str) -> None:
    scheduler = create_scheduler(noise_taker(), name, 80)
    scheduler.set_timesteps(80)
    assert len(scheduler.timesteps) == 80
    assert create_scheduler(noise_taker(), name, 4).config.original_inference_steps == 50


def test_what_the_models_scheduler_is_besides_does_not_reach_the_named_one() -> None:
    from diffusers import DPMSolverMultistepScheduler

    own = DPMSolverMultistepScheduler(
        use_karras_sigmas=True, algorithm_type="sde-dpmsolver++", beta_end=0.012
    )
    scheduler = create_scheduler(Pipeline(own), "dpmpp_2m")
    assert not scheduler.config.use_karras_sigmas
    assert scheduler.config.algorithm_type == "dpmsolver++"
    assert scheduler.config.beta_end == 0.012
    assert create_scheduler(Pipeline(own), None).config.use_karras_sigmas


def test_every_run_has_a_scheduler_of_its_own() -> None:
    pipeline = noise_taker()
    assert create_scheduler(pipeline, None) is not pipeline.scheduler
    assert create_scheduler(pipeline, None) is not create_scheduler(pipeline, None)


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_under_the_noise_is_known_after_one_step(name: str) -> None:
    """Previews show it, whatever the scheduler's way to mix the two."""
    import torch

    scheduler = create_scheduler(noise_taker(), name, 6)
    belief = Belief(scheduler)
    scheduler.set_timesteps(6)
    wanted, timestep = picture(), scheduler.timesteps[0]
    latents = torch.randn(wanted.shape) * scheduler.init_noise_sigma
    signal = scheduler.alphas_cumprod[int(timestep.round())]
    seen = scheduler.scale_model_input(latents, timestep)
    noise = (seen - signal**0.5 * wanted) / (1 - signal) ** 0.5
    after = scheduler.step(noise, timestep, latents, return_dict=False)[0]
    torch.testing.assert_close(belief.latents(after), wanted, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("name", [*FLOW_SAMPLERS, None])
def test_it_is_known_where_the_model_is_told_other_timesteps_than_the_noise_levels(
    name: str | None,
) -> None:
    """As CogView 4 is: its noise levels are shifted, its timesteps are not."""
    import torch

    scheduler = create_scheduler(flow(), name)
    belief = Belief(scheduler)
    scheduler.set_timesteps(timesteps=[1000.0, 750.0, 500.0, 250.0], sigmas=[1.0, 0.75, 0.5, 0.25])
    wanted = picture()
    noise = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    latents = noise
    for timestep in scheduler.timesteps:
        latents = scheduler.step(noise - wanted, timestep, latents, return_dict=False)[0]
        torch.testing.assert_close(belief.latents(latents), wanted, atol=0.02, rtol=0)


def test_a_named_scheduler_draws_another_picture(bundle: PipelineBundle, tiny_sd: Path) -> None:
    (own,) = draw(bundle, tiny_sd, seed=1, steps=4)
    (again,) = draw(bundle, tiny_sd, seed=1, steps=4, scheduler="DDIM")
    (other,) = draw(bundle, tiny_sd, seed=1, steps=4, scheduler="DPM++ 2M Karras")
    assert np.array_equal(own, again)
    assert not np.array_equal(own, other)
