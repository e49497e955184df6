from __future__ import annotations

import pytest

from onebox.hardware.dtype_policy import dtypes_for, rocm_has_bf16

HALF = ("float16", "float32")
BRAIN = ("bfloat16", "bfloat16")
FULL = ("float32", "float32")


@pytest.mark.parametrize(
    ("capability", "name", "expected"),
    [
        ((12, 0), "NVIDIA GeForce RTX 5090", BRAIN),
        ((8, 0), "NVIDIA A100", BRAIN),
        ((7, 5), "NVIDIA GeForce RTX 2080", HALF),
        ((7, 5), "Tesla T4", HALF),
        ((7, 5), "NVIDIA GeForce GTX 1660", FULL),
        ((6, 1), "NVIDIA GeForce GTX 1080", HALF),
        (None, "unknown", HALF),
    ],
)
def test_cuda_is_judged_by_capability_and_known_faults(capability, name, expected):
    # Torch emulates bfloat16 on old cards and says that it supports it; that must not count.
    assert dtypes_for("cuda", compute_capability=capability, bf16=True, name=name) == expected


@pytest.mark.parametrize(
    ("kind", "bf16", "expected"),
    [
        ("rocm", True, BRAIN),
        ("rocm", False, HALF),
        ("xpu", True, BRAIN),
        ("xpu", False, HALF),
        ("mps", True, HALF),
        ("mps", False, HALF),
        ("cpu", True, BRAIN),
        ("cpu", False, FULL),
    ],
)
def test_the_others_are_judged_by_bf16(kind, bf16, expected):
    assert dtypes_for(kind, bf16=bf16) == expected


def test_rocm_bf16_is_in_hardware_from_cdna_and_rdna_3():
    assert all(map(rocm_has_bf16, ["gfx90a:sramecc+:xnack-", "gfx942", "gfx1100", "gfx1201"]))
    assert not any(map(rocm_has_bf16, ["gfx906", "gfx1030", "gfx1010", "gfx900", ""]))
