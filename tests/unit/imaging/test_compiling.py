"""Where a denoiser may be compiled, and what a machine lacks for it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from onebox.core.contracts import Device
from onebox.imaging.diffusion import compiling
from onebox.imaging.diffusion.compiling import can_be_compiled, missing_tools, refusal
from onebox.imaging.diffusion.memory_plan import MemoryPlan
from onebox.imaging.diffusion.recipe import Adapter, Recipe

PLAIN = Recipe("text-to-image", 64, 64, 2, 5.0)


def device(kind: Any = "cpu") -> Device:
    return Device("d", kind, "Device", kind, "pool", 1, 1, "float32", "float32")


@pytest.fixture(autouse=True)
def headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Python's headers, which are here in these tests."""
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(compiling.sysconfig, "get_path", lambda name: str(tmp_path))
    return tmp_path / "Python.h"


@pytest.mark.parametrize(
    ("kind", "plan", "said"),
    [
        ("mps", MemoryPlan(), "this is mps"),
        ("cuda", MemoryPlan(storage="float8_e4m3fn"), "quantization"),
        ("cuda", MemoryPlan(quantization="4bit"), "quantization"),
        ("cuda", MemoryPlan(offload="sequential"), "sequential_offload"),
    ],
)
def test_weights_that_are_changed_meanwhile_are_not_compiled(
    kind: str, plan: MemoryPlan, said: str
) -> None:
    assert said in (refusal(plan, device(kind)) or "")


@pytest.mark.parametrize("kind", compiling.KINDS)
def test_whole_parts_may_lie_elsewhere_meanwhile(kind: str) -> None:
    assert refusal(MemoryPlan(offload="model", vae_tiling=True), device(kind)) is None


def test_a_cpu_needs_a_compiler_and_the_headers_of_python(headers: Path) -> None:
    assert missing_tools(device(), {}, find=lambda name: "/usr/bin/g++") == []
    headers.unlink()
    compiler, python = missing_tools(device(), {}, find=lambda name: None)
    assert "g++" in compiler
    assert "python3-dev" in python


def test_the_compiler_may_be_named() -> None:
    def find(name: str) -> str | None:
        return name if name == "icpx" else None

    assert missing_tools(device(), {"CXX": "icpx"}, find) == []
    assert len(missing_tools(device(), {}, find)) == 1


def test_a_card_needs_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (missing,) = missing_tools(device("cuda"), {}, find=lambda name: "/usr/bin/gcc")
    assert "triton" in missing


def test_what_is_put_into_a_denoiser_is_not_compiled_for_each_request() -> None:
    lora = Recipe("text-to-image", 64, 64, 2, 5.0, loras=(Adapter("lora:0"),))
    prompted = Recipe("inpainting", 64, 64, 2, 5.0, image_prompt=0.8)
    word = Recipe("text-to-image", 64, 64, 2, 5.0, textual_inversions=(Adapter("w", token="x"),))
    assert [can_be_compiled(r) for r in (PLAIN, lora, prompted, word)] == [True, False, False, True]
