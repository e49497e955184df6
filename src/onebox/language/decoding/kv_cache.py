"""Where the keys and values of the sequences lie: single buffers, and batches that decode together.

Token-major: a tensor [rows, capacity, 2 x kv heads, head dim] for each layer, keys before values.
Capacities come in classes, so that rows of like length share one tensor and are read by one
attention call. Buffers are resized layer by layer, so that no more than a layer lies there twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from onebox.core.decoding import NoRoom

# Tokens: what a class begins with, and what reading is rounded up to.
SMALLEST_CAPACITY = 256
BLOCK = 64
# Where the rows of a buffer begin, as torch's own do: the same sums everywhere.
ALIGNED_BYTES = 64


@dataclass(frozen=True, slots=True)
class KvShape:
    """What one token takes in all layers together."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: Any
    device: Any

    @property
    def token_bytes(self) -> int:
        return int(self.layers * 2 * self.kv_heads * self.head_dim * self.dtype.itemsize)


def capacity_for(tokens: int) -> int:
    """The smallest class that holds them."""
    capacity = SMALLEST_CAPACITY
    while capacity < tokens:
        capacity *= 2
    return capacity


def rounded_up(tokens: int) -> int:
    return -(-tokens // BLOCK) * BLOCK


Buffer = list[Any]


def bytes_of(buffer: Buffer) -> int:
    return sum(int(layer.nbytes) for layer in buffer)


class KvMemory:
    """Allocates buffers, counts their bytes, and asks for room before it takes more.

    Attributes:
        reserve: told the bytes that all buffers would take together; False: there is no room.
        trim: asked to free what is not needed now; returns whether it freed any.
    """

    def __init__(self, shape: KvShape) -> None:
        self.shape = shape
        self.used_bytes = 0
        self.reserve: Callable[[int], bool] = lambda _: True
        self.trim: Callable[[], bool] = lambda: False

    def allocate(self, rows: int, capacity: int) -> Buffer:
        """A zeroed buffer. Raises NoRoom."""
        size_bytes = rows * capacity * self.shape.token_bytes
        self.take(size_bytes)
        try:
            return [self._layer(rows, capacity) for _ in range(self.shape.layers)]
        except BaseException:
            self.give_back(size_bytes)
            raise

    def resize(self, buffer: Buffer, rows: int, tokens: int) -> None:
        """Give a buffer so many rows; those that it has stay, as far as their first `tokens`.

        Raises NoRoom; then nothing changed.
        """
        capacity = int(buffer[0].shape[1])
        held, wanted = bytes_of(buffer), rows * capacity * self.shape.token_bytes
        if wanted > held:
            self.take(wanted - held)
        try:
            for number, layer in enumerate(buffer):
                resized = self._layer(rows, capacity)
                both = min(rows, len(layer))
                resized[:both, :tokens] = layer[:both, :tokens]
                buffer[number] = resized
        finally:
            # Also right when the device had no memory half way.
            self.give_back(max(held, wanted) - bytes_of(buffer))

    def free(self, buffer: Buffer) -> None:
        """The caller drops its last reference."""
        self.give_back(bytes_of(buffer))

    def take(self, size_bytes: int) -> None:
        """Count bytes that the caller allocates itself. Raises NoRoom."""
        while not self.try_take(size_bytes):
            if not self.trim():
                raise NoRoom

    def try_take(self, size_bytes: int) -> bool:
        """As `take`, but frees nothing for it."""
        if not self.reserve(self.used_bytes + size_bytes):
            return False
        self.used_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        if size_bytes:
            self.used_bytes -= size_bytes
            self.reserve(self.used_bytes)

    def _layer(self, rows: int, capacity: int) -> Any:
        import numpy as np
        import torch

        shape = self.shape
        size = (rows, capacity, 2 * shape.kv_heads, shape.head_dim)
        if shape.device.type != "cpu":
            return torch.zeros(size, dtype=shape.dtype, device=shape.device)
        # Zeroed by the system when it is first touched: a large buffer would stop all texts for
        # tenths of a second.
        size_bytes = math.prod(size) * shape.dtype.itemsize
        raw = torch.from_numpy(np.zeros(size_bytes + ALIGNED_BYTES, np.uint8))
        first = -raw.data_ptr() % ALIGNED_BYTES
        return raw[first : first + size_bytes].view(shape.dtype).view(size)


@dataclass(slots=True, eq=False)
class KvRow:
    """One sequence's keys and values: a row of a buffer of its own, or of a batch.

    Attributes:
        computed: how many tokens' keys and values are there.
        batch: None while the row has a buffer of its own.
        names: of its first full blocks, as far as the prefix store has named them.
        offered: how many of its blocks the prefix store has or was offered.
    """

    memory: KvMemory
    buffer: Buffer
    row: int = 0
    computed: int = 0
    batch: KvBatch | None = None
    names: list[bytes] = field(default_factory=list)
    offered: int = 0

    @classmethod
    def create(cls, memory: KvMemory, tokens: int) -> KvRow:
        return cls(memory, memory.allocate(1, capacity_for(tokens)))

    @property
    def capacity(self) -> int:
        return int(self.buffer[0].shape[1])

    def read(self, start: int, end: int) -> Any:
        """A copy [layers, end - start, 2 x kv heads, head dim]."""
        import torch

        return torch.stack([layer[self.row, start:end] for layer in self.buffer])

    def write(self, start: int, block: Any) -> None:
        """What `read` gave."""
        for layer, part in zip(self.buffer, block, strict=True):
            layer[self.row, start : start + len(part)] = part

    def copy_to(self, buffer: Buffer, row: int) -> None:
        """What is computed, to another place of any capacity that holds it."""
        for source, target in zip(self.buffer, buffer, strict=True):
            target[row, : self.computed] = source[self.row, : self.computed]

    def grow(self, tokens: int) -> None:
        """Hold so many, in a buffer of its own. Raises NoRoom; then nothing changed."""
        if tokens <= self.capacity:
            return
        buffer = self.memory.allocate(1, capacity_for(tokens))
        self.copy_to(buffer, 0)
        self.leave()
        self.buffer, self.row = buffer, 0

    def leave(self) -> None:
        """Let go of its place; there is no other one yet."""
        if self.batch is not None:
            self.batch.remove(self)
            self.batch = None
        else:
            self.memory.free(self.buffer)
        self.buffer = []


@dataclass(slots=True, eq=False)
class KvBatch:
    """Rows of one capacity, without gaps, so that one attention call reads them all."""

    memory: KvMemory
    capacity: int
    buffer: Buffer = field(default_factory=list)
    rows: list[KvRow] = field(default_factory=list)

    @property
    def places(self) -> int:
        return min((len(layer) for layer in self.buffer), default=0)

    def add(self, row: KvRow) -> None:
        """Move a row that has a buffer of its own in here; the first one's is the batch's from
        now on. Raises NoRoom; then nothing changed.
        """
        place = len(self.rows)
        if place == 0:
            self.buffer = row.buffer
        else:
            self._make_room()
            row.copy_to(self.buffer, place)
            row.leave()
        row.buffer, row.row, row.batch = self.buffer, place, self
        self.rows.append(row)

    def remove(self, row: KvRow) -> None:
        """The last row takes its place."""
        last = self.rows.pop()
        if last is not row:
            last.copy_to(self.buffer, row.row)
            last.row = row.row
            self.rows[row.row] = last
        if not self.rows:
            self.memory.free(self.buffer)
            self.buffer = []

    def shrink(self) -> bool:
        """Give back the places that nobody has; whether there were any."""
        if self.places == len(self.rows):
            return False
        self._resize(len(self.rows))
        return True

    def _make_room(self) -> None:
        """One more row fits. Grows by half, for each time copies all there is."""
        have = self.places
        if len(self.rows) == have:
            self._resize(have + max(1, have // 2))

    def _resize(self, rows: int) -> None:
        self.memory.resize(self.buffer, rows, max(row.computed for row in self.rows))
