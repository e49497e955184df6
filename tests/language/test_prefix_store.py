"""What is kept of texts: found again by what precedes it, and never more than is allowed."""

from __future__ import annotations

import pytest
import torch

from onebox.language.decoding.kv_cache import BLOCK, KvMemory, KvRow, KvShape
from onebox.language.decoding.prefix_store import PrefixStore

SHAPE = KvShape(layers=2, kv_heads=1, head_dim=4, dtype=torch.float32, device=torch.device("cpu"))
BLOCK_BYTES = BLOCK * SHAPE.token_bytes
SEED = b"seed"


def ids(blocks: float, first: int = 0) -> list[int]:
    return list(range(first, first + int(blocks * BLOCK)))


class Store:
    """A store, and rows that come and go."""

    def __init__(self, blocks: float = 100) -> None:
        self.memory = KvMemory(SHAPE)
        self.store = PrefixStore(self.memory, int(blocks * BLOCK_BYTES))

    def keep(self, tokens: list[int], seed: bytes = SEED) -> None:
        """As of a text that is computed whole: every value is its token's id."""
        row = KvRow.create(self.memory, len(tokens))
        values = torch.tensor(tokens, dtype=torch.float32)[None, :, None, None]
        row.write(0, values.expand(2, -1, 2, 4))
        row.computed = len(tokens)
        self.store.keep(row, tokens, seed)
        row.leave()

    def known(self, tokens: list[int], seed: bytes = SEED) -> int:
        """How many blocks of them are known."""
        row = KvRow.create(self.memory, len(tokens) + 1)
        count = self.store.fill(row, tokens, seed)
        assert row.computed == count
        found = row.read(0, count)[1, :, 0, 0].tolist()
        assert found == tokens[:count]
        row.leave()
        return count // BLOCK

    @property
    def blocks(self) -> int:
        return self.memory.used_bytes // BLOCK_BYTES


def test_full_blocks_of_the_same_beginning_are_found() -> None:
    store = Store()
    store.keep(ids(3.5))
    assert store.known(ids(3.5)) == 3
    assert store.known([*ids(2), 9, 9, 9]) == 2
    assert store.known(ids(8)) == 3
    assert store.known(ids(0.9)) == 0


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_one_token_is_always_computed(blocks: int) -> None:
    store = Store()
    store.keep(ids(4))
    assert store.known(ids(blocks)) == blocks - 1
    assert store.known([*ids(blocks), 5]) == blocks


def test_a_block_behind_another_beginning_is_another_block() -> None:
    store = Store()
    store.keep(ids(2))
    assert store.known([7] * BLOCK + ids(1, BLOCK) + [1]) == 0
    changed = ids(2.5)
    changed[BLOCK + 1] += 1
    assert store.known(changed) == 1


def test_texts_of_another_kind_share_nothing() -> None:
    store = Store()
    store.keep(ids(2))
    assert store.known(ids(3), b"other") == 0


def test_large_and_small_ids_name_different_blocks() -> None:
    store = Store()
    store.keep([1] * BLOCK)
    assert store.known([257] * BLOCK + [0]) == 0
    assert store.known([1 + 2**32] * BLOCK + [0]) == 0


def test_no_more_is_kept_than_is_allowed() -> None:
    store = Store(blocks=3.9)
    for text in range(10):
        store.keep(ids(2, 1000 * text))
        assert store.memory.used_bytes <= 3.9 * BLOCK_BYTES
    assert store.blocks == 3
    assert store.known(ids(2.5, 9000)) == 2


def test_a_text_longer_than_what_is_allowed_keeps_its_beginning() -> None:
    store = Store(blocks=3)
    store.keep(ids(1, 5000))
    store.keep(ids(6))
    assert store.known(ids(6)) == 3


def test_what_was_used_last_stays() -> None:
    store = Store(blocks=4)
    first, second, third = ids(2), ids(2, 1000), ids(2, 2000)
    store.keep(first)
    store.keep(second)
    assert store.known([*first, 1]) == 2
    store.keep(third)
    assert [store.known([*text, 1]) for text in (first, second, third)] == [2, 0, 2]


def test_the_end_of_a_text_goes_before_its_beginning() -> None:
    store = Store(blocks=4)
    store.keep(ids(3))
    store.keep(ids(2, 1000))
    assert store.known(ids(4)) == 2


def test_a_beginning_that_was_lost_is_kept_again() -> None:
    store = Store(blocks=3)
    row = KvRow.create(store.memory, 256)
    row.write(0, torch.tensor(ids(3), dtype=torch.float32)[None, :, None, None].expand(2, -1, 2, 4))
    row.computed = BLOCK
    store.store.keep(row, ids(3), SEED)
    store.keep(ids(3, 1000))
    row.computed = 3 * BLOCK
    store.store.keep(row, ids(3), SEED)
    assert store.known(ids(4)) == 3


def test_without_room_nothing_is_kept_and_nothing_fails() -> None:
    store = Store()
    store.keep(ids(1))
    room = store.memory.used_bytes + 256 * SHAPE.token_bytes
    store.memory.reserve = lambda size: size <= room
    store.keep(ids(2))
    assert store.known([*ids(1), 1]) == 1
    assert store.known([*ids(2), 1]) == 1


def test_a_device_without_memory_fails_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()

    def stack(*_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "stack", stack)
        store.keep(ids(2))
    assert store.blocks == 0


def test_nothing_is_left_when_all_is_dropped() -> None:
    store = Store()
    store.keep(ids(3))
    store.store.drop_all()
    assert store.memory.used_bytes == 0
    assert store.known(ids(3)) == 0
    assert not store.store.drop_oldest()
