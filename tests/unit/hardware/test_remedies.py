from __future__ import annotations

import msgspec
import pytest

from onebox.hardware.facts import Card, Facts, SeenCard, TorchBuild
from onebox.hardware.remedies import card_problems, missed_cards, runs_cuda, runs_rocm
from tests.unit.hardware.fakes import (
    CPU_BUILD,
    CU130,
    CUDA_BUILD,
    HOST,
    ROCM_BUILD,
    RTX_4090,
    amd,
    card,
)


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 6), ("sm_80",), True),  # same major, newer minor
        ((8, 0), ("sm_86",), False),  # older minor
        ((9, 0), ("sm_80", "sm_86"), False),  # other major
        ((12, 0), CU130, True),
        ((12, 1), CU130, True),
        ((10, 3), CU130, True),
        ((6, 1), CU130, False),
        ((12, 0), ("sm_90", "compute_90"), True),  # PTX is compiled for newer cards
        ((8, 9), ("sm_90", "compute_90"), False),  # but not for older ones
        ((13, 0), ("compute_120",), True),
        ((9, 0), ("sm_90a",), True),
        ((9, 1), ("sm_90a",), False),
        ((12, 0), ("compute_90a",), False),
        ((10, 3), ("sm_100f",), True),
        ((12, 0), ("compute_100f",), False),
        ((8, 7), ("sm_80", "sm_86"), False),  # embedded chips run only their own
        ((8, 7), ("sm_87",), True),
        ((8, 9), ("sm_87",), False),
        ((8, 9), (), True),  # nothing is known: assume the best
        ((8, 9), ("gfx1100", "sm_x"), False),
    ],
)
def test_cuda_architectures(capability, architectures, runs):
    assert runs_cuda(capability, architectures) is runs


def test_rocm_architectures():
    assert runs_rocm("gfx90a:sramecc+:xnack-", ("gfx90a",))
    assert runs_rocm("gfx1101", ("gfx11-generic",))
    assert runs_rocm("gfx1031", ("gfx10-3-generic",))
    assert not runs_rocm("gfx1031", ("gfx1030", "gfx11-generic"))
    assert runs_rocm("gfx1031", ())


def test_a_new_card_in_an_old_build_is_told_the_current_index():
    build = TorchBuild("2.6.0+cu124", cuda="12.4", architectures=("sm_50", "sm_80", "sm_90"))
    assert card_problems(card("NVIDIA GeForce RTX 5090", (12, 0)), build) == (
        "NVIDIA GeForce RTX 5090 (sm_120) is not in this torch build (sm_50 … sm_90): "
        "install a current CUDA build: "
        "ONEBOX_TORCH_INDEX=https://download.pytorch.org/whl/cu130 python3 app.py",
    )


def test_an_old_card_is_told_the_build_that_still_carries_it():
    (problem,) = card_problems(card("NVIDIA GeForce GTX 1080", (6, 1)), CUDA_BUILD)
    assert "ONEBOX_TORCH_INDEX=https://download.pytorch.org/whl/cu126" in problem


def test_a_card_no_build_carries_is_told_the_cpu():
    (problem,) = card_problems(card("Tesla K80", (3, 7)), CUDA_BUILD)
    assert "ONEBOX_DEVICE=cpu" in problem


def test_a_carried_card_has_no_problem():
    assert card_problems(card("NVIDIA L4", (8, 9)), CUDA_BUILD) == ()
    assert card_problems(amd("AMD Radeon RX 7900 XTX", "gfx1100"), ROCM_BUILD) == ()


def test_an_amd_card_outside_the_build():
    (problem,) = card_problems(amd("AMD Radeon RX 6700", "gfx1031"), ROCM_BUILD)
    assert "gfx1031" in problem
    assert "HSA_OVERRIDE_GFX_VERSION=10.3.0" in problem


def test_a_card_that_cannot_be_read_says_why():
    broken = Card(0, "card 0", 0, 0, error="CUDA error: ECC error")
    (problem,) = card_problems(broken, CUDA_BUILD)
    assert "ECC error" in problem


def _missed(build=CPU_BUILD, seen=RTX_4090, **more) -> str:
    (problem,) = missed_cards(Facts(torch=build, host=HOST, seen=(seen,), **more))
    return problem


def test_torch_without_cuda_names_card_driver_and_the_build_for_that_driver():
    problem = _missed()
    assert problem.startswith("NVIDIA GeForce RTX 4090 (driver 580.95.05) is present but torch")
    assert problem.endswith(
        "ONEBOX_TORCH_INDEX=https://download.pytorch.org/whl/cu130 python3 app.py"
    )
    assert "whl/cu126 " in _missed(seen=msgspec.structs.replace(RTX_4090, driver="550.54"))
    old = _missed(seen=msgspec.structs.replace(RTX_4090, driver="470.1"))
    assert "update the driver to 580 or newer" in old


def test_torch_for_rocm_beside_an_nvidia_card():
    assert "built without CUDA" in _missed(build=ROCM_BUILD)


def test_torch_that_cannot_be_imported():
    problem = _missed(build=TorchBuild(None, error="libgomp.so.1: cannot open"))
    assert "torch cannot be imported (torch says: libgomp.so.1: cannot open)" in problem


def test_no_driver_passes_on_what_its_tool_said():
    note = "nvidia-smi says: Failed to initialize NVML: Driver/library version mismatch"
    seen = SeenCard("nvidia", "NVIDIA card at 0000:01:00.0", note=note)
    problem = _missed(build=CUDA_BUILD, seen=seen)
    assert note in problem
    assert "--gpus all" in problem


def test_hidden_cards_name_the_variable():
    problem = _missed(build=CUDA_BUILD, hidden_by="CUDA_VISIBLE_DEVICES=")
    assert "CUDA_VISIBLE_DEVICES= hides it" in problem
    assert "ONEBOX_DEVICE=cpu" in problem


def test_a_driver_too_old_for_the_build():
    problem = _missed(build=CUDA_BUILD, seen=msgspec.structs.replace(RTX_4090, driver="535.1"))
    assert "CUDA 13.0 needs driver 580 or newer" in problem
    assert "whl/cu126" in problem
    ancient = _missed(build=CUDA_BUILD, seen=msgspec.structs.replace(RTX_4090, driver="470.1"))
    assert "driver 470.1 is too old: update the driver to 580 or newer" in ancient


def test_cuda_that_does_not_start_passes_on_what_torch_said():
    build = msgspec.structs.replace(CUDA_BUILD, error="CUDA unknown error {0}")
    assert "(torch says: CUDA unknown error {0})" in _missed(build=build)
    assert "torch says" not in _missed(build=CUDA_BUILD)


@pytest.mark.parametrize(
    ("build", "hidden", "expected"),
    [
        (CPU_BUILD, None, "built without ROCm"),
        (TorchBuild(None), None, "cannot be imported"),
        (ROCM_BUILD, "HIP_VISIBLE_DEVICES=-1", "HIP_VISIBLE_DEVICES=-1 hides it"),
        (ROCM_BUILD, None, "/dev/kfd"),
    ],
)
def test_a_missed_amd_card(build, hidden, expected):
    problem = _missed(build=build, seen=SeenCard("amd", "AMD card"), hidden_by=hidden)
    assert expected in problem


def test_a_missed_apple_gpu():
    apple = SeenCard("apple", "the GPU of this Apple chip")
    assert "arm64" in _missed(seen=apple)
    assert "imported" in _missed(build=TorchBuild(None), seen=apple)
    card_mps = Card(0, "Apple M2", 1, 1)
    assert missed_cards(Facts(torch=CPU_BUILD, host=HOST, seen=(apple,), mps=card_mps)) == ()


def test_listed_cards_are_not_missed():
    facts = Facts(torch=CUDA_BUILD, host=HOST, seen=(RTX_4090,), cuda=(card("RTX", (8, 9)),))
    assert missed_cards(facts) == ()
