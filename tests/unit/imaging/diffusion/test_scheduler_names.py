"""What schedulers are called."""

from __future__ import annotations

import pytest

from onebox.core.errors import InvalidInput
from onebox.imaging.diffusion.scheduler_names import (
    ALIASES,
    FLOW_SAMPLERS,
    NAMES,
    NOISE_SAMPLERS,
    Choice,
    read_name,
)


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("euler", Choice("euler")),
        ("Euler a", Choice("euler_a")),
        ("euler_ancestral", Choice("euler_a")),
        ("DPM++ 2M Karras", Choice("dpmpp_2m", "karras")),
        ("dpmpp_2m_karras", Choice("dpmpp_2m", "karras")),
        ("DPM++ 2M SDE", Choice("dpmpp_2m_sde")),
        ("dpmpp_2m_sde_gpu", Choice("dpmpp_2m_sde")),
        ("DPM++ 3M SDE Exponential", Choice("dpmpp_3m_sde", "exponential")),
        ("dpmpp_sde", Choice("dpmpp_sde")),
        ("dpm_2_ancestral", Choice("dpm2_a")),
        ("DPM2 a Karras", Choice("dpm2_a", "karras")),
        ("UniPC", Choice("unipc")),
        ("uni_pc_bh2", Choice("unipc")),
        ("PLMS", Choice("pndm")),
        ("ddim", Choice("ddim")),
        ("LCM", Choice("lcm")),
        ("heun", Choice("heun")),
        ("euler_sgm_uniform", Choice("euler", "sgm_uniform")),
        ("auto", None),
        (None, None),
    ],
)
def test_the_names_of_other_programs_are_understood(name: str | None, choice: Choice) -> None:
    assert read_name(name) == choice


@pytest.mark.parametrize("name", ["eulr", "", "karras", "../euler", "dpmpp_2m_caras"])
def test_an_unknown_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(
        InvalidInput, match=r"there is no such scheduler; use ddim, .*, unipc"
    ) as no:
        read_name(name)
    assert no.value.param == "scheduler"
    assert no.value.details["allowed"] == sorted(NAMES)


def test_a_spacing_is_refused_where_there_are_no_noise_levels_to_space() -> None:
    with pytest.raises(InvalidInput, match="euler_karras"):
        read_name("ddim_karras")


def test_every_alias_and_every_flow_name_is_one_of_the_names() -> None:
    assert set(ALIASES.values()) <= set(NAMES)
    assert set(FLOW_SAMPLERS) <= set(NOISE_SAMPLERS)
