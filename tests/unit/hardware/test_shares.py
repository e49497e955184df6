"""Workers that share the CPU or a memory pool get equal parts of it."""

from __future__ import annotations

import pytest

from onebox.core.contracts import Device
from onebox.hardware.memory import GIB, budget_bytes
from onebox.hardware.shares import budget_of, threads_of

CPU = Device("cpu", "cpu", "CPU", "cpu", "host", 64 * GIB, 64 * GIB, "float32", "float32")
CARD = Device(
    "cuda:0", "cuda", "Card", "cuda:0", "cuda:0", 24 * GIB, 24 * GIB, "bfloat16", "bfloat16"
)


@pytest.mark.parametrize(
    ("device", "chosen", "threads"),
    [(CPU, [CPU], 8), (CPU, [CPU, CPU], 4), (CPU, [CARD, CPU], 8), (CARD, [CARD, CPU, CPU], 8)],
)
def test_workers_on_the_cpu_share_its_cores(
    device: Device, chosen: list[Device], threads: int
) -> None:
    assert threads_of(device, chosen, None, 9) == threads


@pytest.mark.parametrize(
    ("device", "chosen", "parts"), [(CPU, [CPU], 1), (CPU, [CPU, CPU], 2), (CARD, [CARD, CPU], 1)]
)
def test_workers_on_one_pool_share_its_memory(
    device: Device, chosen: list[Device], parts: int
) -> None:
    assert budget_of(device, chosen, None) == budget_bytes(device, None) // parts
