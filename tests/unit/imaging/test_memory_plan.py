"""How weights share a device's memory: by what is asked for, and by what fits."""

from __future__ import annotations

from typing import Any

import pytest

from onebox.core.contracts import Device
from onebox.core.errors import ModelBroken
from onebox.core.on_disk import TensorInfo
from onebox.imaging.diffusion.memory_plan import MemoryPlan, device_bytes, plan_for, weights_bytes

GIB = 1024**3
PARTS = {"unet": 5 * GIB, "text_encoder": 2 * GIB, "vae": GIB}


def card(total: int = 24 * GIB, kind: Any = "cuda", pool: str = "cuda:0") -> Device:
    return Device("d", kind, "Card", "cuda:0", pool, total, total, "float16", "float32")


def test_what_fits_lies_on_the_device_as_it_is() -> None:
    assert plan_for({}, PARTS, card()) == MemoryPlan()
    assert device_bytes(MemoryPlan(), PARTS, 10) == 8 * GIB


@pytest.mark.parametrize(
    ("total", "offload", "taken"),
    [(9 * GIB, "model", 5 * GIB), (6 * GIB, "sequential", 2 * 7), (11 * GIB, None, 8 * GIB)],
)
def test_what_does_not_fit_is_offloaded_only_as_far_as_it_must(
    total: int, offload: str | None, taken: int
) -> None:
    plan = plan_for({}, PARTS, card(total))
    assert plan.offload == offload
    assert device_bytes(plan, PARTS, 7) == taken


def test_what_is_asked_for_is_done_also_where_there_is_room() -> None:
    asked = ["vae_tiling", "vae_slicing", "attention_slicing", "cpu_offload"]
    plan = plan_for({"memory": asked, "quantization": "fp8"}, PARTS, card())
    assert plan == MemoryPlan(True, True, True, "model", storage="float8_e4m3fn")
    both = plan_for({"memory": ["cpu_offload", "sequential_offload"]}, PARTS, card())
    assert both.offload == "sequential"


def test_nothing_is_offloaded_from_the_memory_it_would_be_offloaded_to() -> None:
    for kind in ("cpu", "mps"):
        device = card(GIB, kind=kind, pool="host")
        assert plan_for({"memory": ["cpu_offload"]}, PARTS, device).offload is None


@pytest.mark.parametrize(
    ("quantization", "kind", "said"),
    [("int8", "cpu", "models of text"), ("4bit", "mps", "needs CUDA"), ("8bit", "cpu", "fp8")],
)
def test_a_quantization_that_the_device_has_not_is_refused_with_one_that_it_has(
    quantization: str, kind: str, said: str
) -> None:
    with pytest.raises(ModelBroken, match=said):
        plan_for({"quantization": quantization}, PARTS, card(kind=kind))


def test_bytes_are_those_of_the_dtype_that_each_part_is_loaded_in() -> None:
    parts = {
        "unet": [TensorInfo("F32", (100, 10), 4000)],
        "vae": [TensorInfo("F16", (10, 10), 200)],
    }
    assert weights_bytes(parts, {}, card()) == 2 * 1000 + 4 * 100
    assert weights_bytes(parts, {"dtype": "float32"}, card()) == 4 * 1100
    assert weights_bytes(parts, {"quantization": "fp8"}, card()) == 1000 + 400
    assert weights_bytes(parts, {"quantization": "4bit"}, card()) == 500 + 400
    assert weights_bytes(parts, {"memory": ["cpu_offload"]}, card()) == 2000
