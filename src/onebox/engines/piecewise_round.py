"""The requests that a piecewise engine has under way, and which of their pieces come next."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

import structlog

from onebox.core.errors import AppError, InferenceFailed
from onebox.core.logs import Origin, logged_for
from onebox.core.piecework import Piece, Piecework
from onebox.engines.fair_queue import RANKS
from onebox.engines.work import Work

log = structlog.get_logger(__name__)

# How many pieces all requests together offer for one round, and one of them at least.
OFFERED = 1024
LEAST_OFFERED = 16


@dataclass(slots=True, eq=False)
class Member:
    """One request that is under way.

    Attributes:
        work: its `fail` also ends the membership.
        answer: the `fail` that it had before, for any thread.
        served: the last round that it had a part in.
        is_computed: whether it has a part in the round at hand.
    """

    work: Work
    piecework: Piecework
    answer: Callable[[AppError], None]
    served: int = 0
    is_computed: bool = False

    @property
    def origin(self) -> Origin:
        return self.work.origin

    def failed(self) -> None:
        """Answer it: an error that is none of ours came up."""
        with logged_for([self]):
            log.exception("piecework_failed")
        bug = InferenceFailed("the model failed on this request; the server's log says why")
        self.work.fail(bug)

    @property
    def rank(self) -> int:
        return RANKS[self.work.priority]


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """A piece, and whose it is."""

    member: Member
    piece: Piece


@dataclass(slots=True)
class Members:
    """All that are under way. Used on the engine thread only, but for `answer_stopped`."""

    members: list[Member] = field(default_factory=list)
    _round: int = 0
    _served: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Member]:
        """A copy: members may leave meanwhile."""
        return iter(list(self.members))

    def add(self, member: Member) -> None:
        self.members.append(member)

    def remove(self, member: Member) -> None:
        if member in self.members:
            self.members.remove(member)
        if not self.members:
            self._served.clear()

    def answer_stopped(self, request_id: str) -> None:
        """Answer one that must stop; it leaves when the engine's thread comes to it.

        One that is being computed is answered when it stops: else nobody would see that it hangs.
        """
        for member in self:
            reason = member.work.token.stopped()
            if member.work.id == request_id and reason is not None and not member.is_computed:
                member.answer(reason)

    def of_rank(self, rank: int) -> int:
        """How many are at least as urgent."""
        return sum(1 for member in self.members if member.rank <= rank)

    def in_order(self) -> list[Member]:
        """By rank; then callers by turns; then the requests of a caller by turns."""
        return sorted(
            self.members,
            key=lambda m: (m.rank, self._served.get(m.work.caller, 0), m.served),
        )

    def offers(self, ready: Callable[[Member, int], Sequence[Piece]]) -> list[Offer]:
        """What may be computed together with the first piece of who is next, by turns.

        Args:
            ready: gives up to so many pieces of a member.
        """
        most = max(LEAST_OFFERED, OFFERED // max(1, len(self.members)))
        rows: list[list[Offer]] = []
        for member in self.in_order():
            if rows and member.rank != rows[0][0].member.rank:
                break
            row = [Offer(member, piece) for piece in ready(member, most)]
            first = rows[0][0] if rows else next(iter(row), None)
            if first is not None:
                row = [offer for offer in row if _goes_with(offer, first)]
            if row:
                rows.append(row)
        by_turns = chain.from_iterable(zip_longest(*rows))
        return [offer for offer in by_turns if offer is not None]

    def served(self, offers: Iterable[Offer]) -> None:
        """These were just computed."""
        self._round += 1
        for offer in offers:
            offer.member.served = self._round
            self._served[offer.member.work.caller] = self._round


@contextlib.contextmanager
def computing(offers: Iterable[Offer]) -> Iterator[None]:
    """The body computes these."""
    members = [offer.member for offer in offers]
    for member in members:
        member.is_computed = True
    try:
        yield
    finally:
        for member in members:
            member.is_computed = False


def _goes_with(offer: Offer, first: Offer) -> bool:
    same_task = offer.member.work.batch_key == first.member.work.batch_key
    return same_task and offer.piece.kind == first.piece.kind
