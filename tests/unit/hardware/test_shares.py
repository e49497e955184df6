"""Workers on the CPU get equal parts of it; those on one memory pool share it whole."""

from __future__ import annotations

import msgspec
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


@pytest.mark.parametrize("chosen", [[CPU], [CPU, CPU], [CARD, CPU]])
def test_a_pool_has_its_whole_budget_however_many_share_it(chosen: list[Device]) -> None:
    assert budget_of(CPU, chosen, None) == budget_bytes(CPU, None)
    assert budget_of(CPU, chosen, "8GiB") == 8 * GIB


def test_what_was_measured_last_goes_before_what_was_chosen() -> None:
    fuller = msgspec.structs.replace(CARD, free_bytes=12 * GIB)
    assert budget_of(fuller, [CARD], None) == budget_bytes(fuller, None)


def test_all_workers_of_a_pool_say_the_same() -> None:
    gpu = msgspec.structs.replace(
        CPU, id="mps", kind="mps", total_bytes=40 * GIB, free_bytes=40 * GIB
    )
    whole = budget_bytes(CPU, None)
    assert whole > budget_bytes(gpu, None)
    assert [budget_of(device, [gpu, CPU], None) for device in (gpu, CPU)] == [whole, whole]
