from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import msgspec
import pytest

from onebox.core.contracts import Device
from onebox.core.errors import InvalidInput
from onebox.hardware.facts import Facts
from onebox.hardware.memory import (
    budget_bytes,
    empty_cache,
    free_bytes,
    held_bytes,
    host_used_by_others,
    others_bytes,
    reserve_bytes,
    resident_bytes,
)
from onebox.hardware.threads import torch_threads
from tests.unit.hardware.fakes import CPU_BUILD, GIB, HOST, FakeBackend

MIB = 1024**2
CARD = Device(
    id="cuda:0",
    kind="cuda",
    name="A card",
    torch_device="cuda:0",
    pool="cuda:0",
    total_bytes=20 * GIB,
    free_bytes=16 * GIB,
    dtype="bfloat16",
    vae_dtype="bfloat16",
)
CPU = msgspec.structs.replace(CARD, id="cpu", kind="cpu", torch_device="cpu", pool="host")


def test_the_reserve_has_a_share_and_a_least():
    assert reserve_bytes(CARD) == GIB
    assert reserve_bytes(msgspec.structs.replace(CARD, total_bytes=4 * GIB)) == 512 * MIB
    assert reserve_bytes(CPU) == 2 * GIB
    assert reserve_bytes(msgspec.structs.replace(CPU, total_bytes=8 * GIB)) == GIB


@pytest.mark.parametrize(
    ("device", "setting", "used", "expected"),
    [
        (CARD, None, None, 15 * GIB),
        (CPU, None, None, 14 * GIB),
        (CPU, None, 10 * GIB, 8 * GIB),  # others took more
        (CPU, None, 20 * GIB, 0),
        (CARD, "8GiB", None, 8 * GIB),
        (CARD, "0.5", None, 10 * GIB),
        (CARD, "18GiB", None, 18 * GIB),  # taken at its word
        (CARD, "64GiB", None, 20 * GIB),  # but there is no more
        (CPU, "8GiB", None, 8 * GIB),
        (CPU, "18GiB", None, 14 * GIB),  # others keep theirs
        (CPU, "100%", 5 * GIB, 13 * GIB),
    ],
)
def test_budget(device, setting, used, expected):
    assert budget_bytes(device, setting, used_by_others=used) == expected


def test_a_budget_that_is_no_amount_is_refused():
    with pytest.raises(InvalidInput):
        budget_bytes(CARD, "much")


def test_free_bytes_asks_by_torchs_name():
    backend = FakeBackend(Facts(torch=CPU_BUILD, host=HOST), free={"cuda:0": 7})
    assert free_bytes(CARD, backend) == 7


def test_resident_bytes_is_this_process():
    assert MIB < resident_bytes() < 1024 * GIB


class FakeTorch:
    """Notes which caches were emptied."""

    def __init__(self, initialized: bool = True) -> None:
        self.calls: list[str] = []
        self.cuda = SimpleNamespace(
            is_initialized=lambda: initialized,
            device=lambda name: nullcontext(self.calls.append(name)),
            empty_cache=lambda: self.calls.append("empty"),
            ipc_collect=lambda: self.calls.append("collect"),
        )
        self.mps = SimpleNamespace(empty_cache=lambda: self.calls.append("mps"))
        self.xpu = SimpleNamespace(empty_cache=lambda: self.calls.append("xpu"))


@pytest.mark.parametrize(
    ("kind", "initialized", "expected"),
    [
        ("cuda", True, ["cuda:0", "empty", "collect"]),
        ("rocm", True, ["cuda:0", "empty", "collect"]),
        ("cuda", False, []),
        ("mps", True, ["mps"]),
        ("xpu", True, ["xpu"]),
        ("cpu", True, []),
    ],
)
def test_empty_cache_by_kind(monkeypatch, kind, initialized, expected):
    torch = FakeTorch(initialized)
    monkeypatch.setitem(sys.modules, "torch", torch)
    empty_cache(msgspec.structs.replace(CARD, kind=kind))
    assert torch.calls == expected


def test_empty_cache_imports_no_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    empty_cache(CARD)
    assert "torch" not in sys.modules


@pytest.mark.parametrize(
    ("setting", "cpus", "workers", "expected"),
    [
        (None, 1, 1, 1),
        (None, 2, 1, 2),
        (None, 3, 1, 2),
        (None, 16, 1, 15),
        (None, 16, 2, 7),
        (None, 2, 4, 1),
        (None, 4, 0, 3),
        (12, 2, 2, 12),
    ],
)
def test_torch_threads(setting, cpus, workers, expected):
    assert torch_threads(setting, cpus, workers=workers) == expected


class HoldingTorch:
    """Says what its tensors take."""

    def __init__(self, initialized: bool = True) -> None:
        self.cuda = SimpleNamespace(
            is_initialized=lambda: initialized, memory_allocated={"cuda:0": 11}.get
        )
        self.mps = SimpleNamespace(current_allocated_memory=lambda: 22)
        self.xpu = SimpleNamespace(memory_allocated={"cuda:0": 33}.get)


@pytest.mark.parametrize(
    ("kind", "initialized", "expected"),
    [
        ("cuda", True, 11),
        ("rocm", True, 11),
        ("cuda", False, 0),
        ("mps", True, 22),
        ("xpu", True, 33),
    ],
)
def test_held_bytes_of_a_card_are_those_of_tensors(monkeypatch, kind, initialized, expected):
    device = msgspec.structs.replace(CARD, kind=kind)
    monkeypatch.setitem(sys.modules, "torch", HoldingTorch(initialized))
    assert held_bytes(device) == expected
    monkeypatch.delitem(sys.modules, "torch")
    assert held_bytes(device) == 0


def test_held_bytes_of_the_host_follow_what_is_taken_and_given_back():
    before = held_bytes(CPU)
    taken = bytearray(64 * MIB)
    taken[::4096] = b"x" * len(taken[::4096])
    during = held_bytes(CPU)
    del taken
    assert 56 * MIB < during - before < 96 * MIB
    assert during - held_bytes(CPU) > 56 * MIB


@pytest.mark.parametrize(
    ("available", "ours", "expected"),
    [
        (20 * GIB, 4 * GIB, 8 * GIB),
        (32 * GIB, 0, 0),
        (32 * GIB - 1, 0, 64 * MIB),
        (32 * GIB - 64 * MIB, 0, 64 * MIB),
        (32 * GIB - 65 * MIB, 0, 128 * MIB),
        (30 * GIB, 3 * GIB, 0),  # ours is shared with the page cache, which is available
        (0, 0, 32 * GIB),
    ],
)
def test_others_use_what_is_neither_available_nor_ours(available, ours, expected):
    assert others_bytes(32 * GIB, available, ours) == expected


def test_what_others_use_is_no_more_than_there_is():
    assert others_bytes(GIB + 1, 0, 0) == GIB + 1


def test_a_device_that_may_use_a_part_of_the_host_loses_only_what_it_could_have_had():
    assert others_bytes(20 * GIB, 18 * GIB, GIB) == GIB
    assert others_bytes(20 * GIB, 24 * GIB, GIB) == 0


def test_what_others_use_of_this_host():
    room = msgspec.structs.replace(CPU, total_bytes=1024 * GIB)
    everything = host_used_by_others(room, [])
    ours = 16 * GIB
    assert everything % (64 * MIB) == 0
    assert 0 < everything <= 1024 * GIB
    without = host_used_by_others(room, [os.getpid()], unified_bytes=ours)
    assert everything - without > 8 * GIB
