"""Continuous batching: sequences join and leave at every step, and share each pass.

A step is one pass over all that are under way: one token each for those that are being written,
and a chunk of the prompts that wait, no larger than what keeps the step short for the others.
Deterministic sequences go in passes of their own, of fixed shapes, so that no bit depends on what
else is computed; their attention is computed row by row.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from onebox.core.decoding import NoRoom, Token, TokenSequence
from onebox.core.errors import AppError
from onebox.language.decoding.batch import Forward, Work
from onebox.language.decoding.chunk_size import ChunkSize
from onebox.language.decoding.kv_cache import BLOCK, KvBatch, KvMemory, KvRow, KvShape, capacity_for
from onebox.language.decoding.prefix_store import PrefixStore
from onebox.language.decoding.sampler import Sampler

# Deterministic passes: rows that are written together, tokens of a prompt's chunk.
FIXED_ROWS = 8
FIXED_CHUNK = BLOCK

FixedMode = Callable[[], contextlib.AbstractContextManager[Any]]
Sampled = tuple[TokenSequence, Token | AppError]


class Pass(Protocol):
    """A model's forward pass over a packed row."""

    shape: KvShape
    size_bytes: int

    def __call__(self, forward: Forward) -> Any: ...


class BatchDecoder:
    """The `Decoder` of models whose attention is ours.

    Args:
        fixed_rows: how many deterministic rows go in one pass; 1 where a row's bits depend on which
            others are in it.
    """

    def __init__(
        self,
        compute: Pass,
        fixed_rows: int = FIXED_ROWS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._compute = compute
        self._fixed_rows = fixed_rows
        self._clock = clock
        self._memory = KvMemory(compute.shape)
        self._memory.trim = self._trim
        self._store = PrefixStore(self._memory, 0)
        self._batches: dict[int, KvBatch] = {}
        self._sampler = Sampler()
        self._chunk = ChunkSize()
        self._fixed_mode: FixedMode = contextlib.nullcontext
        self.size_bytes = compute.size_bytes

    @property
    def used_bytes(self) -> int:
        return self._memory.used_bytes

    def attach(
        self, reserve: Callable[[int], bool], keep_bytes: int, fixed_mode: FixedMode
    ) -> None:
        self._memory.reserve = reserve
        self._fixed_mode = fixed_mode
        self._store.limit_bytes = keep_bytes

    def bytes_for(self, tokens: int) -> int:
        return capacity_for(tokens) * self._compute.shape.token_bytes

    def step(self, sequences: Sequence[TokenSequence]) -> list[Sampled]:
        free = [sequence for sequence in sequences if not sequence.deterministic]
        fixed = [sequence for sequence in sequences if sequence.deterministic]
        # All places first, so that NoRoom comes before anything was computed.
        works, fixed_works = self._plan(free, len(fixed)), self._plan_fixed(fixed)
        started = self._clock()
        sampled = self._run(self._free_passes(works), list(self._fixed_passes(fixed_works)))
        # Where no token was chosen, the device may still be computing.
        if sampled and not fixed:
            counts = [work.count for work in works]
            prompt_tokens = sum(count for count in counts if count > 1)
            self._chunk.measured(counts.count(1), prompt_tokens, self._clock() - started)
        self._keep(works)
        self._keep(fixed_works)
        return sampled

    def drop(self, sequence: TokenSequence) -> None:
        row: KvRow | None = sequence.state
        if row is None:
            return
        sequence.state = None
        if not sequence.deterministic:
            self._store.keep(row, [*sequence.prompt, *sequence.output], _seed(sequence))
        row.leave()

    def drop_kept(self) -> None:
        self._store.drop_all()

    def close(self) -> None:
        self._memory.reserve = lambda _: True
        self._store.drop_all()
        self._batches.clear()
        del self._compute

    def _trim(self) -> bool:
        return self._store.drop_oldest() or any(map(KvBatch.shrink, self._batches.values()))

    def _plan(self, sequences: Sequence[TokenSequence], others: int) -> list[Work]:
        """One token for each that is being written, and chunks of those that wait.

        `others` are written beside these in passes of their own.
        """
        works, waiting = [], []
        for sequence in sequences:
            row = sequence.state
            if row is not None and len(sequence) - row.computed == 1:
                row.grow(len(sequence))
                self._join(row)
                works.append(Work(sequence, row, 1))
            else:
                waiting.append(sequence)
        left = self._chunk.tokens(len(works) + others, len(waiting))
        for sequence in waiting:
            if left <= 0:
                break
            row = self._begun(sequence)
            count = min(left, len(sequence) - row.computed)
            row.grow(row.computed + count)
            works.append(Work(sequence, row, count))
            left -= count
        return works

    def _plan_fixed(self, sequences: Sequence[TokenSequence]) -> list[Work]:
        """One token for each that is being written, and one chunk of one prompt."""
        works = []
        takes_prompt = True
        for sequence in sequences:
            left = len(sequence.prompt) - (sequence.state.computed if sequence.state else 0)
            if left > 0:
                if not takes_prompt:
                    continue
                takes_prompt = False
            row = self._begun(sequence)
            # What was written before a pause is computed again token by token, as it was then.
            count = min(FIXED_CHUNK, max(1, len(sequence.prompt) - row.computed))
            row.grow(row.computed + count)
            works.append(Work(sequence, row, count))
        return works

    def _begun(self, sequence: TokenSequence) -> KvRow:
        """The sequence's place, with what is known of its beginning. Raises NoRoom."""
        if sequence.state is None:
            row = KvRow.create(self._memory, len(sequence) + 1)
            tokens = sequence.prompt
            if sequence.output and not sequence.deterministic:
                tokens = [*tokens, *sequence.output]
            cached = self._store.fill(row, tokens, _seed(sequence))
            sequence.state = row
            if not sequence.output:
                sequence.cached = cached
        row = sequence.state
        assert isinstance(row, KvRow)
        return row

    def _join(self, row: KvRow) -> None:
        """Go with the others of its capacity; if there is no room, it stays where it is."""
        if row.batch is not None:
            return
        batch = self._batches.get(row.capacity)
        if batch is None:
            batch = self._batches[row.capacity] = KvBatch(self._memory, row.capacity)
        with contextlib.suppress(NoRoom):
            batch.add(row)

    def _free_passes(self, works: Sequence[Work]) -> list[Forward]:
        if not works:
            return []
        by_row = {work.row: work for work in works}
        batches = [
            (batch, [by_row[row] for row in batch.rows])
            for batch in self._batches.values()
            if batch.rows
        ]
        chunks = [work for work in works if work.row.batch is None]
        return [Forward(batches, chunks, self._compute.shape.device)]

    def _fixed_passes(self, works: Sequence[Work]) -> Iterator[Forward]:
        device, most = self._compute.shape.device, self._fixed_rows
        written = [work for work in works if _is_written(work)]
        for start in range(0, len(written), most):
            rows = written[start : start + most]
            yield Forward([], rows, device, fixed_rows=most, fixed_wanted=most)
        for work in works:
            if not _is_written(work):
                yield Forward([], [work], device, fixed_rows=FIXED_CHUNK, fixed_wanted=1)

    def _run(self, free: Sequence[Forward], fixed: Sequence[Forward]) -> list[Sampled]:
        """Tokens are chosen, and what is computed counts, when no pass can fail any more."""
        import torch

        with torch.inference_mode():
            logits = [self._logits(forward) for forward in free]
            if fixed:
                with self._fixed_mode():
                    logits += [self._logits(forward) for forward in fixed]
            completed = [sequence for part in (*free, *fixed) for sequence in part.completed]
            tokens = self._sampler.sample(torch.cat(logits), completed) if completed else []
        for forward in (*free, *fixed):
            forward.finish()
        return list(zip(completed, tokens, strict=True))

    def _logits(self, forward: Forward) -> Any:
        """[completed, vocabulary]"""
        return self._compute(forward)[: len(forward.completed)]

    def _keep(self, works: Sequence[Work]) -> None:
        """At once, so that those who come with the same beginning find it."""
        for work in works:
            if work.row.computed <= len(work.sequence.prompt):
                self._store.keep(work.row, work.sequence.prompt, _seed(work.sequence))


def _is_written(work: Work) -> bool:
    return work.row.computed >= len(work.sequence.prompt)


def _seed(sequence: TokenSequence) -> bytes:
    """Keys and values computed in fixed shapes differ from others in their last bits."""
    return b"fixed" if sequence.deterministic else b"free"
