"""What a memory pool may give as other programs come and go."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest

from onebox.hardware.memory import GIB
from onebox.runtime.pool_limit import LOOK_AGAIN_S, PoolLimit
from tests.unit.runtime.clients import CPU, NotingClient, bundle, stats

HOST = msgspec.structs.replace(CPU, total_bytes=32 * GIB, free_bytes=30 * GIB)
CARD = msgspec.structs.replace(HOST, id="cuda:0", kind="cuda", pool="cuda:0")
MAC = msgspec.structs.replace(HOST, id="mps", kind="mps")


class House:
    """A machine on which other programs use `others` bytes."""

    def __init__(self, *clients: NotingClient, setting: str | None = None) -> None:
        self.now = 0.0
        self.others = 2 * GIB
        self.asked: list[tuple[Any, ...]] = []
        self.limit = PoolLimit(setting, lambda: clients, self._used, lambda: self.now)

    def _used(self, device: Any, pids: list[int], *, unified_bytes: int) -> int:
        self.asked.append((pids, unified_bytes))
        return self.others


def test_the_hosts_memory_is_what_others_leave_less_a_reserve():
    house = House()
    assert house.limit(HOST, 40 * GIB) == 30 * GIB - 32 * GIB // 10
    house.others, house.now = 20 * GIB, LOOK_AGAIN_S
    assert house.limit(HOST, 40 * GIB) == 12 * GIB - 32 * GIB // 10


def test_it_never_grows_over_what_there_was_at_start():
    assert House().limit(HOST, 5 * GIB) == 5 * GIB


def test_a_setting_is_the_most():
    assert House(setting="3GiB").limit(HOST, 40 * GIB) == 3 * GIB


def test_a_card_is_nobody_elses():
    house = House()
    assert house.limit(CARD, 7 * GIB) == 7 * GIB
    assert house.asked == []


def test_it_looks_only_now_and_then():
    house = House()
    for now in (0.0, LOOK_AGAIN_S / 2, LOOK_AGAIN_S):
        house.now = now
        house.limit(HOST, GIB)
    assert len(house.asked) == 2


@pytest.mark.parametrize(("device", "unified_bytes"), [(HOST, 0), (MAC, 7)])
def test_our_own_memory_is_not_that_of_others(tmp_path, device, unified_bytes):
    client = NotingClient(tmp_path, device=device)
    client.last_stats = stats(bundle("a", size_bytes=7))
    house = House(client)
    house.limit(device, GIB)
    assert client.hello is not None
    assert house.asked == [([os.getpid(), client.hello.pid], unified_bytes)]
