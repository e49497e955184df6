"""Rows of keys and values: where they lie may change, what they are and what is counted may not."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from onebox.core.decoding import NoRoom
from onebox.language.decoding.kv_cache import (
    KvBatch,
    KvMemory,
    KvRow,
    KvShape,
    bytes_of,
    capacity_for,
    rounded_up,
)

SHAPE = KvShape(layers=3, kv_heads=2, head_dim=4, dtype=torch.float32, device=torch.device("cpu"))
ROW_BYTES = 256 * SHAPE.token_bytes


def filled(memory: KvMemory, mark: int, tokens: int = 5) -> KvRow:
    row = KvRow.create(memory, tokens)
    row.write(0, torch.full((3, tokens, 4, 4), float(mark)))
    row.computed = tokens
    return row


def marks(row: KvRow) -> set[float]:
    return set(row.read(0, row.computed).flatten().tolist())


@pytest.mark.parametrize(
    ("tokens", "capacity"), [(1, 256), (256, 256), (257, 512), (512, 512), (513, 1024)]
)
def test_capacities_come_in_doubling_classes(tokens: int, capacity: int) -> None:
    assert capacity_for(tokens) == capacity


def test_reading_is_rounded_up_to_whole_blocks() -> None:
    assert [rounded_up(tokens) for tokens in (1, 64, 65)] == [64, 64, 128]


def test_a_token_takes_keys_and_values_of_all_layers() -> None:
    assert SHAPE.token_bytes == 3 * 2 * 2 * 4 * 4
    memory = KvMemory(SHAPE)
    row = KvRow.create(memory, 1)
    assert memory.used_bytes == ROW_BYTES == bytes_of(row.buffer)


def test_a_row_that_grows_keeps_what_it_has() -> None:
    memory = KvMemory(SHAPE)
    row = filled(memory, 7, 200)
    row.grow(256)
    assert memory.used_bytes == ROW_BYTES
    row.grow(257)
    assert (row.capacity, memory.used_bytes) == (512, 2 * ROW_BYTES)
    assert marks(row) == {7.0}
    row.leave()
    assert memory.used_bytes == 0


def test_rows_that_come_and_go_keep_their_own() -> None:
    rng = random.Random(0)
    memory = KvMemory(SHAPE)
    batch = KvBatch(memory, 256)
    rows: dict[int, KvRow] = {}
    for mark in range(200):
        if rows and rng.random() < 0.5:
            rows.pop(rng.choice(list(rows))).leave()
        else:
            rows[mark] = filled(memory, mark, rng.randint(1, 256))
            batch.add(rows[mark])
        if rng.random() < 0.1:
            batch.shrink()
        assert memory.used_bytes == bytes_of(batch.buffer)
        assert all(marks(row) == {float(mark)} for mark, row in rows.items())
        assert [row.row for row in batch.rows] == list(range(len(rows)))
    for row in rows.values():
        row.leave()
    assert (memory.used_bytes, batch.buffer) == (0, [])


def test_unused_places_are_given_back_when_they_are_asked_for() -> None:
    memory = KvMemory(SHAPE)
    batch = KvBatch(memory, 256)
    rows = [filled(memory, mark) for mark in range(8)]
    for row in rows:
        batch.add(row)
    for row in rows[1:]:
        row.leave()
    assert memory.used_bytes >= 8 * ROW_BYTES
    assert batch.shrink()
    assert memory.used_bytes == ROW_BYTES
    assert not batch.shrink()
    assert marks(rows[0]) == {0.0}


def test_without_room_nothing_changes() -> None:
    memory = KvMemory(SHAPE)
    batch = KvBatch(memory, 256)
    first, second = filled(memory, 1), filled(memory, 2)
    batch.add(first)
    memory.reserve = lambda size: size <= 2 * ROW_BYTES
    for refused in (
        lambda: batch.add(second),
        lambda: second.grow(300),
        lambda: first.grow(300),
        lambda: KvRow.create(memory, 1),
    ):
        with pytest.raises(NoRoom):
            refused()
        assert memory.used_bytes == 2 * ROW_BYTES
        assert (marks(first), marks(second)) == ({1.0}, {2.0})
        assert (first.batch, second.batch) == (batch, None)


def test_what_is_kept_in_case_is_freed_before_there_is_no_room() -> None:
    memory = KvMemory(SHAPE)
    memory.take(3 * ROW_BYTES)
    memory.reserve = lambda size: size <= 3 * ROW_BYTES

    def trim() -> bool:
        kept = memory.used_bytes > ROW_BYTES
        if kept:
            memory.give_back(ROW_BYTES)
        return kept

    memory.trim = trim
    KvRow.create(memory, 1)
    assert memory.used_bytes == 3 * ROW_BYTES, "it freed no more than it had to"
    with pytest.raises(NoRoom):
        memory.allocate(4, 256)


def test_a_device_without_memory_half_way_is_counted_rightly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = KvMemory(SHAPE)
    batch = KvBatch(memory, 256)
    batch.add(filled(memory, 1))
    late = filled(memory, 2)
    real = np.zeros
    made: list[int] = []

    def zeros(*size: Any) -> Any:
        made.append(1)
        if len(made) == 2:
            raise MemoryError
        return real(*size)

    monkeypatch.setattr(np, "zeros", zeros)
    with pytest.raises(MemoryError):
        batch.add(late)
    assert memory.used_bytes == bytes_of(batch.buffer) + bytes_of(late.buffer)
    batch.add(late)
    assert memory.used_bytes == bytes_of(batch.buffer)
    assert [marks(row) for row in batch.rows] == [{1.0}, {2.0}]
