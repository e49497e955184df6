"""The names schedulers go by, and which diffusers class with which options each of them is.

The short names are those of ComfyUI and A1111 ("dpmpp_2m", "euler_a"); both programs' other ways to
write them ("DPM++ 2M Karras", "euler_ancestral", "uni_pc") mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from onebox.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Sampler:
    """A diffusers class, the options that make it this sampler, and the spacings it can take."""

    class_name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    sigmas: bool = True


MULTISTEP = "DPMSolverMultistepScheduler"
SINGLESTEP = "DPMSolverSinglestepScheduler"

# For models that were trained to take noise away.
NOISE_SAMPLERS: Mapping[str, Sampler] = {
    "euler": Sampler("EulerDiscreteScheduler"),
    "euler_a": Sampler("EulerAncestralDiscreteScheduler", sigmas=False),
    "heun": Sampler("HeunDiscreteScheduler"),
    "dpm2": Sampler("KDPM2DiscreteScheduler"),
    "dpm2_a": Sampler("KDPM2AncestralDiscreteScheduler"),
    "dpmpp_2m": Sampler(MULTISTEP, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "dpmpp_2m_sde": Sampler(MULTISTEP, {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}),
    "dpmpp_3m": Sampler(MULTISTEP, {"algorithm_type": "dpmsolver++", "solver_order": 3}),
    "dpmpp_3m_sde": Sampler(MULTISTEP, {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}),
    "dpmpp_2s": Sampler(
        SINGLESTEP,
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "lower_order_final": True},
    ),
    # Each step asks the model once. The class that asks twice, as A1111 does, needs one more
    # package and draws its noise for a whole batch from one seed.
    "dpmpp_sde": Sampler(
        SINGLESTEP,
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "lower_order_final": True},
    ),
    "deis": Sampler("DEISMultistepScheduler"),
    "unipc": Sampler("UniPCMultistepScheduler"),
    "ddim": Sampler("DDIMScheduler", sigmas=False),
    "ddpm": Sampler("DDPMScheduler", sigmas=False),
    "pndm": Sampler("PNDMScheduler", {"skip_prk_steps": True}, sigmas=False),
    "lcm": Sampler("LCMScheduler", sigmas=False),
    "tcd": Sampler("TCDScheduler", sigmas=False),
    "sa_solver": Sampler("SASolverScheduler"),
}

# For flow-matching models: only those that need no random numbers, since their pipelines hand a
# scheduler none of the request's.
FLOW_SAMPLERS: Mapping[str, Sampler] = {
    "euler": Sampler("FlowMatchEulerDiscreteScheduler"),
    "heun": Sampler("FlowMatchHeunDiscreteScheduler"),
    "dpmpp_2m": Sampler(MULTISTEP, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "dpmpp_3m": Sampler(MULTISTEP, {"algorithm_type": "dpmsolver++", "solver_order": 3}),
    "unipc": Sampler("UniPCMultistepScheduler"),
}

# How the noise levels are spread over the steps, written behind a sampler's name.
SPACINGS: Mapping[str, Mapping[str, Any]] = {
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "sgm_uniform": {"timestep_spacing": "trailing"},
    "trailing": {"timestep_spacing": "trailing"},
}

ALIASES: Mapping[str, str] = {
    "euler_ancestral": "euler_a",
    "dpm_2": "dpm2",
    "dpm_2_ancestral": "dpm2_a",
    "dpm2_ancestral": "dpm2_a",
    "dpm_2_a": "dpm2_a",
    "dpmpp_2m_sde_gpu": "dpmpp_2m_sde",
    "dpmpp_3m_sde_gpu": "dpmpp_3m_sde",
    "dpmpp_sde_gpu": "dpmpp_sde",
    "dpmpp": "dpmpp_2m",
    "uni_pc": "unipc",
    "uni_pc_bh2": "unipc",
    "plms": "pndm",
    "sasolver": "sa_solver",
}
OWN = frozenset({"auto", "automatic", "default"})
NAMES: tuple[str, ...] = (*NOISE_SAMPLERS,)


@dataclass(frozen=True, slots=True)
class Choice:
    """A scheduler as a client named it: the sampler's short name, and a spacing or none."""

    sampler: str
    spacing: str | None = None


def read_name(name: str | None) -> Choice | None:
    """What a scheduler's name means; None is the model's own.

    Raises InvalidInput for a name that is nobody's.
    """
    if name is None:
        return None
    plain = re.sub(r"[\s\-]+", "_", name.strip().lower().replace("++", "pp"))
    if plain in OWN:
        return None
    stem, spacing = plain, None
    for ending in SPACINGS:
        if plain.endswith(f"_{ending}"):
            stem, spacing = plain.removesuffix(f"_{ending}"), ending
    sampler = ALIASES.get(stem, stem)
    if sampler not in NOISE_SAMPLERS:
        raise unknown(name, NAMES)
    if spacing in ("karras", "exponential") and not NOISE_SAMPLERS[sampler].sigmas:
        fits = (known for known, kind in NOISE_SAMPLERS.items() if kind.sigmas)
        raise unknown(name, (f"{known}_{spacing}" for known in fits))
    return Choice(sampler, spacing)


def unknown(
    name: str, fits: Iterable[str], why: str = "there is no such scheduler"
) -> InvalidInput:
    """The error that names the schedulers that would do."""
    names = sorted(fits)
    use = f"use {', '.join(names)}, or leave it out" if names else "leave it out"
    return InvalidInput(
        f"scheduler {name!r}: {why}; {use} for the model's own",
        param="scheduler",
        details={"allowed": names},
    )
