"""Keys and values of prompts that may come again, in blocks, found by what precedes them.

A block's name is a SHA-256 over its own tokens and the name of the block before it, so equal names
mean equal texts from the beginning on. Least recently used blocks go first, of one text its end
before its beginning, without which the rest cannot be found.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from onebox.language.decoding.kv_cache import BLOCK, KvMemory, KvRow


class PrefixStore:
    """Copies of blocks [layers, BLOCK, 2 x kv heads, head dim] within a limit of bytes."""

    def __init__(self, memory: KvMemory, limit_bytes: int) -> None:
        self._memory = memory
        self._block_bytes = BLOCK * memory.shape.token_bytes
        self.limit_bytes = limit_bytes
        self._blocks: OrderedDict[bytes, Any] = OrderedDict()

    def fill(self, row: KvRow, tokens: Sequence[int], seed: bytes) -> int:
        """Copy what is known of the beginning of `tokens` to an empty row; one token stays open.

        Returns how many tokens it copied.
        """
        import torch

        found = []
        for count in range(1, (len(tokens) - 1) // BLOCK + 1):
            block = self._blocks.get(_names(row, tokens, seed, count)[-1])
            if block is None:
                break
            found.append(block)
        if found:
            row.write(0, torch.cat(found, dim=1))
            row.computed = len(found) * BLOCK
            row.offered = len(found)
            self._touch(row.names)
        return row.computed

    def keep(self, row: KvRow, tokens: Sequence[int], seed: bytes) -> None:
        """Remember the full blocks of what a row has computed, as far as there is room."""
        full = row.computed // BLOCK
        if full <= row.offered:
            return
        row.offered = full
        names = _names(row, tokens, seed, full)
        self._touch(names)
        for number, name in enumerate(names):
            if name not in self._blocks and not self._add(row, number, names):
                break
        self._touch(names)

    def drop_all(self) -> None:
        while self.drop_oldest():
            pass

    def drop_oldest(self) -> bool:
        """Whether there was a block to drop."""
        if not self._blocks:
            return False
        self._blocks.popitem(last=False)
        self._memory.give_back(self._block_bytes)
        return True

    def _add(self, row: KvRow, number: int, names: Sequence[bytes]) -> bool:
        """Whether there was room for block `number`, beside the others of the same text."""
        while not self._take():
            oldest = next(iter(self._blocks), None)
            if oldest is None or oldest in names:
                return False
            self.drop_oldest()
        try:
            self._blocks[names[number]] = row.read(number * BLOCK, (number + 1) * BLOCK)
        except RuntimeError:
            # The device has no room for a copy that is only made in case. Whatever else is wrong
            # with it, the next pass says.
            self._memory.give_back(self._block_bytes)
            return False
        return True

    def _take(self) -> bool:
        within = (len(self._blocks) + 1) * self._block_bytes <= self.limit_bytes
        return within and self._memory.try_take(self._block_bytes)

    def _touch(self, names: Sequence[bytes]) -> None:
        """They are the ones used last, the first of them at the very last."""
        for name in reversed(names):
            if name in self._blocks:
                self._blocks.move_to_end(name)


def _names(row: KvRow, tokens: Sequence[int], seed: bytes, count: int) -> list[bytes]:
    """The names of the first `count` blocks; those that the row has are not computed again."""
    names = row.names
    while len(names) < count:
        start = len(names) * BLOCK
        block = array("q", tokens[start : start + BLOCK]).tobytes()
        names.append(hashlib.sha256((names[-1] if names else seed) + block).digest())
    return names
