"""One forward pass: which tokens of which sequences it computes, and their attention.

All tokens lie in one packed row: first those of the batches (one a sequence), then the chunks. The
weights are read once for all of them; attention is computed for each group by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onebox.core.decoding import TokenSequence
from onebox.language.decoding.kv_cache import KvBatch, KvRow, rounded_up

Window = int | None


@dataclass(frozen=True, slots=True)
class Work:
    """So many tokens of a sequence, from the first that is not computed."""

    sequence: TokenSequence
    row: KvRow
    count: int

    def ids(self) -> list[int]:
        start, end = self.row.computed, self.row.computed + self.count
        prompt = self.sequence.prompt
        if start >= len(prompt):
            return self.sequence.output[start - len(prompt) : end - len(prompt)]
        head = list(prompt[start:end])
        return head + self.sequence.output[: max(0, end - len(prompt))]

    @property
    def completes(self) -> bool:
        """Whether it computes the last token there is, so that the next one can be chosen."""
        return self.row.computed + self.count == len(self.sequence)


class _Masks:
    """Who sees whom, for each window: made once for all layers that have it."""

    def __init__(self, places: Any, length: int, dtype: Any) -> None:
        self._places, self._length, self._dtype = places, length, dtype
        self._made: dict[Window, Any] = {}

    def __call__(self, window: Window) -> Any:
        """[places, length], to be added to the scores."""
        import torch

        if window not in self._made:
            keys = torch.arange(self._length, device=self._places.device)[None]
            hidden = keys > self._places[:, None]
            if window is not None:
                hidden |= keys <= self._places[:, None] - window
            mask = torch.zeros(hidden.shape, dtype=self._dtype, device=hidden.device)
            self._made[window] = mask.masked_fill_(hidden, float("-inf"))
        return self._made[window]


class Group:
    """One token for each row of a batch.

    Attributes:
        first, count: where its tokens lie in the packed row.
    """

    def __init__(self, batch: KvBatch, first: int) -> None:
        import torch

        self.first, self.count = first, len(batch.rows)
        self._buffer = batch.buffer
        shape = batch.memory.shape
        computed = [row.computed for row in batch.rows]
        self._length = min(rounded_up(max(computed) + 1), batch.capacity)
        self._rows = torch.arange(self.count, device=shape.device)
        self._places = torch.tensor(computed, device=shape.device)
        self._mask = _Masks(self._places, self._length, shape.dtype)

    def attend(self, layer: int, query: Any, key_value: Any, scale: float, window: Window) -> Any:
        """query [count, heads, dim], key_value [count, 2 x kv heads, dim] → [count, heads, dim]."""
        import torch.nn.functional as functional

        held = self._buffer[layer]
        held[self._rows, self._places] = key_value
        seen = held[: self.count, : self._length].transpose(1, 2)
        keys, values = seen.chunk(2, dim=1)
        heads, kv_heads = query.shape[1], keys.shape[1]
        # The query heads that share a key head are rows of one small product.
        grouped = query.reshape(self.count, kv_heads, heads // kv_heads, query.shape[2])
        out = functional.scaled_dot_product_attention(
            grouped, keys, values, attn_mask=self._mask(window)[:, None, None], scale=scale
        )
        return out.reshape(query.shape)


class Chunk:
    """Consecutive tokens of one sequence that has a buffer of its own.

    Args:
        padding: tokens computed beside them only to fill up a fixed shape.
    """

    def __init__(self, row: KvRow, first: int, count: int, padding: int = 0) -> None:
        import torch

        shape = row.memory.shape
        self.first, self.count = first, count + padding
        self._row, self._start, self._own = row, row.computed, count
        self._length = row.computed + count
        self._causal = row.computed == 0 and count > 1 and not padding
        if padding or count == 1:
            self._length = min(rounded_up(self._length), row.capacity)
        places = torch.arange(self._start, self._start + self.count, device=shape.device)
        self._mask = _Masks(places, self._length, shape.dtype)

    def attend(self, layer: int, query: Any, key_value: Any, scale: float, window: Window) -> Any:
        """As Group's."""
        import torch.nn.functional as functional

        held = self._row.buffer[layer][self._row.row]
        held[self._start : self._start + self._own] = key_value[: self._own]
        seen = held[: self._length].transpose(0, 1)
        keys, values = seen.chunk(2, dim=0)
        causal = self._causal and (window is None or window >= self._length)
        count, heads, dim = query.shape
        kv_heads = keys.shape[0]
        shared = heads // kv_heads
        if count == 1:
            # As in a group: with so few rows the keys are better read once for all that share them.
            out = functional.scaled_dot_product_attention(
                query.view(1, kv_heads, shared, dim),
                keys[None],
                values[None],
                attn_mask=self._mask(window)[None, None],
                scale=scale,
            )
            return out.reshape(query.shape)
        # [shared, kv heads, count, dim]: the heads that share keys are a batch over the same keys.
        grouped = query.view(count, kv_heads, shared, dim).permute(2, 1, 0, 3)
        out = functional.scaled_dot_product_attention(
            grouped,
            keys.expand(shared, *keys.shape),
            values.expand(shared, *values.shape),
            attn_mask=None if causal else self._mask(window),
            is_causal=causal,
            scale=scale,
        )
        return out.permute(2, 1, 0, 3).reshape(query.shape)


class Forward:
    """What one pass computes.

    Attributes:
        ids, positions: [tokens], on the device.
        wanted: places in the packed row whose logits are wanted; first one for each
            of `completed`.
    """

    def __init__(
        self,
        batches: Sequence[tuple[KvBatch, Sequence[Work]]],
        chunks: Sequence[Work],
        device: Any,
        *,
        fixed_rows: int = 0,
        fixed_wanted: int = 0,
    ) -> None:
        """Args:
        batches: the works of a batch are in the order of its rows, all of one token.
        fixed_rows: fill up to so many tokens; those beyond attend to nothing.
        fixed_wanted: fill up to so many places whose logits are computed.
        """
        import torch

        ids: list[int] = []
        positions: list[int] = []
        wanted: list[int] = []
        self.completed: list[TokenSequence] = []
        self._parts: list[Group | Chunk] = []
        self._works = [*(work for _, works in batches for work in works), *chunks]
        for batch, _ in batches:
            self._parts.append(Group(batch, sum(part.count for part in self._parts)))
        for work in self._works:
            if work.row.batch is None:
                padding = max(0, fixed_rows - work.count) if work.count > 1 else 0
                self._parts.append(Chunk(work.row, len(ids), work.count, padding))
            if work.completes:
                wanted.append(len(ids) + work.count - 1)
                self.completed.append(work.sequence)
            ids += work.ids()
            positions += range(work.row.computed, work.row.computed + work.count)
            if work.row.batch is None and self._parts[-1].count > work.count:
                padding = self._parts[-1].count - work.count
                ids += [0] * padding
                # The next ones may lie beyond what the model knows.
                positions += [positions[-1]] * padding
        missing = max(0, fixed_rows - len(ids))
        self.idle = missing
        ids += [0] * missing
        positions += [0] * missing
        self.ids = torch.tensor(ids, device=device)
        self.positions = torch.tensor(positions, device=device)
        wanted += [0] * (fixed_wanted - len(wanted))
        self.wanted = torch.tensor(wanted, dtype=torch.long, device=device)

    def attend(
        self, layer: int, query: Any, key_value: Any, scale: float, window: Window = None
    ) -> Any:
        """query [tokens, heads, dim], key_value [tokens, 2 x kv heads, dim] → as query.

        Each token sees itself and those before it; with a `window`, only so many of them.
        """
        if len(self._parts) == 1 and not self.idle:
            return self._parts[0].attend(layer, query, key_value, scale, window)
        out = query.new_zeros(query.shape)
        for part in self._parts:
            here = slice(part.first, part.first + part.count)
            out[here] = part.attend(layer, query[here], key_value[here], scale, window)
        return out

    def finish(self) -> None:
        """The keys and values are there now."""
        for work in self._works:
            work.row.computed += work.count
