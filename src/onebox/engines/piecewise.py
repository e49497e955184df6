"""Engine `piecewise`: the pieces of many requests are computed side by side, round after round.

Requests join and leave between rounds, so that a short one never waits for a long one to end, and
what comes of a piece goes out as soon as it is there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import structlog

from onebox.core.contracts import Bundle
from onebox.core.errors import AppError, InferenceFailed, ModelTooLarge, OutOfMemory
from onebox.core.logs import logged_for
from onebox.core.piecework import Piece, Piecework
from onebox.engines.attempt import Attempt, still_wanted
from onebox.engines.fair_queue import RANKS
from onebox.engines.gate import Gate
from onebox.engines.piecewise_round import Member, Members, Offer, computing
from onebox.engines.threaded import ThreadedEngine
from onebox.engines.work import LoadFailed, Memory, Runner, Work

log = structlog.get_logger(__name__)


class PieceRunner(Runner, Protocol):
    """Runs what has no pieces at once (`__call__`), and the rounds of what has."""

    def most_open(self, work: Work) -> int:
        """How many requests like this may be under way at once; 0: it has no pieces."""

    def begin(self, work: Work, wake: Callable[[], None]) -> Piecework:
        """Raises what the request ends in."""

    def choose(self, work: Work, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """The pieces of the next round, the first one among them."""

    def compute(
        self,
        works: Sequence[Work],
        pieces: Sequence[Piece],
        bundle: Bundle,
        between_steps: Callable[[], None],
        *,
        lean: bool,
    ) -> Sequence[Any]:
        """What comes of each piece; an AppError for one that failed alone."""

    def finish(self, work: Work, piecework: Piecework) -> None: ...


class PiecewiseEngine(ThreadedEngine):
    """Runs the requests of one bundle in rounds of pieces.

    The bundle is leased anew for each round, and kept in memory between two of them unless others
    wait for its room.
    """

    def __init__(
        self,
        name: str,
        memory: Memory,
        run: PieceRunner,
        gate: Gate,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name, memory, gate)
        self._run = run
        self._clock = clock
        self._members = Members()
        self._woken = False
        self._kept = contextlib.ExitStack()
        self._keeps = False
        self._thread.start()

    def cancel(self, request_id: str) -> None:
        super().cancel(request_id)
        # The engine's thread may be waiting for room for others just now.
        self._members.answer_stopped(request_id)
        self._wake()

    def _arrived(self) -> None:
        self._woken = True

    def _wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify()

    def _serve_next(self) -> None:
        """From the first request on until none is left."""
        try:
            while self._go_on():
                pass
        finally:
            self._let_go()

    def _go_on(self) -> bool:
        """One round, or a wait for the next one. False: nobody is left."""
        with self._changed:
            self._woken = False
        try:
            still_wanted([member.work for member in self._members])
            self._admit()
            if not self._serve_round():
                self._wait()
        except BaseException:
            log.exception("engine_failed", engine=self._name)
            bug = InferenceFailed("the engine failed on this request; the server's log says why")
            self._fail([member.work for member in self._members], bug)
        return len(self._members) > 0

    def _admit(self) -> None:
        """Take from the queue what may begin now."""
        is_full = False
        for work in self._wanted():
            most = self._run.most_open(work)
            if most and not is_full:
                # Then it is full for the less urgent that come after it, too.
                is_full = self._members.of_rank(RANKS[work.priority]) >= most
            if most and is_full:
                continue
            for taken in self._take([work]):
                if most:
                    self._begin(taken)
                else:
                    self._run_whole(taken)

    def _begin(self, work: Work) -> None:
        with self._answering([work]):
            try:
                piecework = self._run.begin(work, self._wake)
            except AppError as error:
                work.fail(error)
                return
            member = Member(work, piecework, answer=work.fail)
            member.work = replace(work, fail=partial(self._end, member))
            self._members.add(member)
            self._finish_if_done(member)

    def _end(self, member: Member, error: AppError) -> None:
        self._members.remove(member)
        member.answer(error)

    def _run_whole(self, work: Work) -> None:
        """What is no piecework: a bundle that is only to be loaded."""
        with self._answering([work]):
            try:
                with self._lease([work]) as bundle:
                    Attempt(self._run, self._memory.recover, bundle, lambda lean: None).run([work])
            except LoadFailed as failure:
                self._load_failed(failure, [work])
            except AppError as error:
                work.fail(error)

    def _serve_round(self) -> bool:
        """False: there is nothing to do now but wait."""
        members = len(self._members)
        offers = self._members.offers(self._ready)
        if not offers:
            # Who left just now made room for others.
            return not members or len(self._members) < members
        by_piece = {id(offer.piece): offer for offer in offers}
        chosen = self._run.choose(offers[0].member.work, [offer.piece for offer in offers])
        self._compute([by_piece[id(piece)] for piece in chosen])
        return True

    def _ready(self, member: Member, most: int) -> Sequence[Piece]:
        """Those of a member that may go on; it may also turn out to have no more."""
        try:
            pieces = member.piecework.ready(most)
            if not pieces:
                self._finish_if_done(member)
            return pieces
        except AppError as error:
            member.work.fail(error)
        except Exception:
            member.failed()
        return ()

    def _compute(self, offers: Sequence[Offer]) -> None:
        works = list({id(o.member): o.member.work for o in offers}.values())
        rank = RANKS[works[0].priority]
        with contextlib.ExitStack() as held:
            held.enter_context(logged_for(works))
            try:
                bundle = held.enter_context(self._lease(works))
            except LoadFailed as failure:
                self._load_failed(failure, works)
                return
            except AppError as error:
                self._refused(offers, works, error)
                return
            self._keep(works[0])
            held.enter_context(self._gate.turn(lambda: self._urgency(rank)))
            held.enter_context(computing(offers))
            self._attempt(offers, works, bundle, rank)
        self._members.served(offers)
        if self._memory.others_wait():
            self._let_go()

    def _lease(self, works: Sequence[Work]) -> contextlib.AbstractContextManager[Bundle]:
        """Who waits for room holds nothing that others may wait for."""
        most = max(works, key=lambda work: work.reserve_bytes)
        asked = [w if w is most else replace(w, reserve_bytes=0) for w in works]
        lease = self._memory.lease_now(asked)
        if lease is None:
            self._let_go()
            lease = self._memory.lease(asked)
        return lease

    def _keep(self, work: Work) -> None:
        """Until `_let_go` the weights stay where they are."""
        if self._keeps or self._memory.others_wait():
            return
        lease = self._memory.lease_now([replace(work, reserve_bytes=0)])
        if lease is not None:
            self._kept.enter_context(lease)
            self._keeps = True

    def _let_go(self) -> None:
        self._kept.close()
        self._keeps = False

    def _load_failed(self, failure: LoadFailed, works: Sequence[Work]) -> None:
        waiting = [*works, *(member.work for member in self._members)]
        self._fail([*waiting, *self._removed(lambda _: True)], failure.error)

    def _refused(self, offers: Sequence[Offer], works: Sequence[Work], error: AppError) -> None:
        """No lease: was it for those who left, or for being too many? Then the others may go on."""
        left = still_wanted(works)
        if len(left) < len(works):
            return
        if isinstance(error, ModelTooLarge) and len(works) > 1:
            self._compute([offer for offer in offers if offer.member.work is works[0]])
        elif isinstance(error, OutOfMemory):
            # Others hold the room for long. Who let them have it may go on after them.
            self._fail([o.member.work for o in offers if not o.member.served], error)
        else:
            self._fail(works, error)

    def _attempt(
        self, offers: Sequence[Offer], everyone: Sequence[Work], bundle: Bundle, rank: int
    ) -> None:
        def run(
            works: Sequence[Work],
            bundle: Bundle,
            between_steps: Callable[[], None],
            *,
            lean: bool,
        ) -> None:
            ids = {work.id for work in works}
            own = [offer for offer in offers if offer.member.work.id in ids]
            pieces = [offer.piece for offer in own]
            results = self._run.compute(works, pieces, bundle, between_steps, lean=lean)
            for offer, result in list(zip(own, results, strict=True)):
                self._accept(offer, result)

        def between_steps(lean: bool) -> None:
            self._gate.hand_over(lambda: self._urgency(rank))

        Attempt(run, self._memory.recover, bundle, between_steps).run(everyone)

    def _accept(self, offer: Offer, result: Any) -> None:
        member = offer.member
        if member not in self._members.members:
            return
        if isinstance(result, AppError):
            member.work.fail(result)
            return
        try:
            member.piecework.accept(offer.piece, result)
            self._finish_if_done(member)
        except AppError as error:
            member.work.fail(error)
        except Exception:
            member.failed()

    def _finish_if_done(self, member: Member) -> None:
        if member.piecework.done:
            self._members.remove(member)
            self._run.finish(member.work, member.piecework)

    def _wait(self) -> None:
        """For a piece, a request, a cancel, the end of somebody's time."""
        self._let_go()
        with self._changed:
            works = [*self._queue, *(member.work for member in self._members)]
            deadlines = [work.token.deadline for work in works if work.token.deadline is not None]
            left_s = max(0.0, min(deadlines) - self._clock()) if deadlines else None
            self._changed.wait_for(lambda: self._woken, left_s)
