"""Engine `decode`: the texts of many requests are written side by side, token by token.

Requests join and leave between steps. The decoder of the bundle computes a step; this engine says
which requests take part in it, and answers them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import structlog

from onebox.core.contracts import Bundle
from onebox.core.decoding import Decoder, Generation, NoRoom, Token, TokenSequence
from onebox.core.errors import AppError, InferenceFailed, ModelTooLarge, OutOfMemory
from onebox.core.logs import logged_for
from onebox.engines.attempt import Attempt, forget_frames, still_wanted
from onebox.engines.decode_batch import DecodeBatch, Member
from onebox.engines.fair_queue import RANKS
from onebox.engines.gate import Gate
from onebox.engines.threaded import ThreadedEngine
from onebox.engines.work import LoadFailed, Memory, Runner, Work
from onebox.hardware.out_of_memory import is_out_of_memory

log = structlog.get_logger(__name__)

# How often a text asks again for memory that other models hold.
ASK_AGAIN_S = 0.002


class DecodeRunner(Runner, Protocol):
    """Runs what needs no prompt at once (`__call__`), and begins and ends what does."""

    def decodes(self, work: Work) -> bool: ...

    def open(self, work: Work, bundle: Bundle) -> Generation:
        """Raises what the request ends in."""

    def finish(self, work: Work, generation: Generation) -> None: ...

    def failed(self, error: BaseException) -> AppError:
        """What a client is told of an error of the whole step."""

    def fixed_mode(self) -> contextlib.AbstractContextManager[Any]:
        """A `with` block in which the device computes deterministically, or raises."""


class DecodeEngine(ThreadedEngine):
    """Continuous batching over one bundle.

    Args:
        most_sequences: that are written at the same time.
        keep_bytes: for keys and values of prompts that may come again.
        patience_s: how long a text waits for memory that other models hold.
    """

    def __init__(
        self,
        name: str,
        memory: Memory,
        run: DecodeRunner,
        gate: Gate,
        *,
        most_sequences: int,
        keep_bytes: int,
        patience_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name, memory, gate)
        self._run = run
        self._patience_s = patience_s
        self._clock = clock
        self._waits_since: float | None = None
        self._most_sequences = most_sequences
        self._keep_bytes = keep_bytes
        self._thread.start()

    def _serve_next(self) -> None:
        """From the first request on until none is left: one lease."""
        first: list[Work] = []
        with self._answering(first), contextlib.ExitStack() as held:
            first += still_wanted(self._take(self._wanted()[:1]))
            if not first:
                return
            try:
                bundle = held.enter_context(self._memory.lease(first))
            except LoadFailed as failure:
                self._fail([*first, *self._removed(lambda _: True)], failure.error)
                return
            except AppError as error:
                self._fail(still_wanted(first), error)
                return
            rank = RANKS[first[0].priority]
            held.enter_context(self._gate.turn(lambda: self._urgency(rank)))
            if self._run.decodes(first[0]):
                self._write(bundle, first[0])
            else:
                # Alone: its lease has no room for texts.
                self._run_whole(first[0], bundle)

    def _write(self, bundle: Any, first: Work) -> None:
        decoder: Decoder = bundle.decoder
        decoder.attach(self._memory.resize, self._keep_bytes, self._run.fixed_mode)
        batch = DecodeBatch(decoder, self._most_sequences)
        self._waits_since = None
        with self._ending(batch):
            self._begin(first, bundle, batch)
            while True:
                self._admit(bundle, batch)
                if not batch.members:
                    return
                self._step(batch, decoder)
                self._drop_stopped(batch)
                if batch.members:
                    self._hand_over(batch.rank())

    @contextlib.contextmanager
    def _ending(self, batch: DecodeBatch) -> Iterator[None]:
        """Whatever happens in the body, nobody stays unanswered and no memory stays taken."""
        with self._answering([]), logged_for(batch.members):
            try:
                yield
            finally:
                bug = InferenceFailed("the engine failed; the server's log says why")
                for member in list(batch.members):
                    self._end(batch, member, bug)

    def _admit(self, bundle: Bundle, batch: DecodeBatch) -> None:
        """Take from the queue what may begin now."""
        for work in self._wanted():
            if not self._may_begin(work, batch):
                return
            for taken in self._take([work]):
                self._begin(taken, bundle, batch)

    def _may_begin(self, work: Work, batch: DecodeBatch) -> bool:
        if self._memory.others_wait():
            return False  # they get their turn when the last of these has ended
        if not batch.members:
            return True
        if not self._run.decodes(work):
            return True
        if batch.has_place(work.items):
            return True
        return RANKS[work.priority] < batch.worst_rank() and batch.pause_youngest(keep=0)

    def _begin(self, work: Work, bundle: Any, batch: DecodeBatch) -> None:
        if not self._run.decodes(work):
            self._run_whole(work, bundle)
            return
        with self._answering([work]):
            try:
                generation = self._run.open(work, bundle)
                self._refuse_too_large(work, generation, bundle.decoder)
            except AppError as error:
                work.fail(error)
                return
            member = Member(work, generation)
            batch.add(member)
            self._end_if_complete(batch, member)

    def _run_whole(self, work: Work, bundle: Bundle) -> None:
        def between_steps(lean: bool) -> None:
            self._hand_over(RANKS[work.priority])

        Attempt(self._run, self._memory.recover, bundle, between_steps).run([work])

    def _hand_over(self, rank: int) -> None:
        self._gate.hand_over(lambda: self._urgency(rank))

    def _refuse_too_large(self, work: Work, generation: Generation, decoder: Decoder) -> None:
        """Raises ModelTooLarge for a prompt that can never have room."""
        longest = max((len(sequence) for sequence in generation.sequences), default=0)
        needed, most = decoder.bytes_for(longest + 1), self._room_for(work)
        if needed > most:
            raise ModelTooLarge(
                f"the prompt of {longest} tokens needs {needed} bytes beside the model and there "
                f"are {most} bytes; send less, or raise ONEBOX_MEMORY_BUDGET",
                details={"needed_bytes": needed, "budget_bytes": most},
            )

    def _room_for(self, work: Work) -> int:
        """Bytes for keys and values if nobody else had any."""
        return self._memory.working_bytes(work) - work.reserve_bytes

    def _step(self, batch: DecodeBatch, decoder: Decoder) -> None:
        running = batch.running()
        owners = {id(sequence): member for member, sequence in running}
        try:
            sampled = decoder.step([sequence for _, sequence in running])
        except NoRoom:
            if not self._wait_for_others(batch, decoder):
                self._make_room(batch)
            return
        except Exception as error:
            self._step_failed(batch, decoder, error)
            return
        self._waits_since = None
        for sequence, token in sampled:
            member = owners[id(sequence)]
            if member in batch.members:
                self._accept(batch, member, sequence, token)

    def _accept(
        self, batch: DecodeBatch, member: Member, sequence: TokenSequence, token: Token | AppError
    ) -> None:
        if isinstance(token, AppError):
            self._end(batch, member, token)
            return
        try:
            member.generation.accept(sequence, token)
        except AppError as error:
            self._end(batch, member, error)
        except Exception:
            with logged_for([member]):
                log.exception("text_failed")
            bug = InferenceFailed("the text could not be made; the server's log says why")
            self._end(batch, member, bug)
        else:
            if sequence.finish_reason is not None:
                batch.end(sequence)
                self._end_if_complete(batch, member)

    def _end_if_complete(self, batch: DecodeBatch, member: Member) -> None:
        if any(True for _ in member.open()):
            return
        batch.remove(member)
        with self._answering([member.work]):
            self._run.finish(member.work, member.generation)

    def _end(self, batch: DecodeBatch, member: Member, error: AppError) -> None:
        batch.remove(member)
        self._fail([member.work], error)

    def _drop_stopped(self, batch: DecodeBatch) -> None:
        for member in list(batch.members):
            reason = member.work.token.stopped()
            if reason is not None:
                self._end(batch, member, reason)

    def _wait_for_others(self, batch: DecodeBatch, decoder: Decoder) -> bool:
        """The last text lets go of its memory, for a while, if other models hold what it needs.

        False: there are more texts, or it has no room alone, or has waited long enough.
        """
        running = batch.running()
        if len(running) > 1:
            return False
        ((member, sequence),) = running
        if decoder.bytes_for(len(sequence) + 1) > self._room_for(member.work):
            return False
        now = self._clock()
        if self._waits_since is None:
            log.info("waits_for_room", engine=self._name, sequences=batch.size())
            self._waits_since = now
        if now - self._waits_since > self._patience_s:
            return False
        batch.pause_youngest(keep=0)
        with self._changed:
            self._changed.wait(ASK_AGAIN_S)
        return True

    def _make_room(self, batch: DecodeBatch) -> None:
        if batch.pause_youngest():
            log.info("paused", engine=self._name, sequences=batch.size())
            return
        for member, sequence in batch.running():
            error = OutOfMemory(
                f"a text of {len(sequence)} tokens has no room to go on; ask for less, or try "
                "again later",
                details={"tokens": len(sequence)},
            )
            self._end(batch, member, error)

    def _step_failed(self, batch: DecodeBatch, decoder: Decoder, error: Exception) -> None:
        """Out of memory: with fewer, and at last not at all. Anything else fails all."""
        ran_out = is_out_of_memory(error)
        log.error("step_failed", engine=self._name, ran_out=ran_out, exc_info=error)
        forget_frames(error)
        if ran_out:
            decoder.drop_kept()
            self._memory.recover()
            self._make_room(batch)
            return
        answer = self._run.failed(error)
        for member in list(batch.members):
            self._end(batch, member, answer)
