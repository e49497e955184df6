"""The requests that a decode engine has under way: their order, who is paused, who has ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onebox.core.decoding import Decoder, Generation, TokenSequence
from onebox.core.logs import Origin
from onebox.engines.fair_queue import RANKS
from onebox.engines.work import Work


@dataclass(slots=True, eq=False)
class Member:
    """One request and what it writes."""

    work: Work
    generation: Generation

    @property
    def origin(self) -> Origin:
        return self.work.origin

    @property
    def rank(self) -> int:
        return RANKS[self.work.priority]

    def open(self) -> Iterator[TokenSequence]:
        return (s for s in self.generation.sequences if s.finish_reason is None)


class DecodeBatch:
    """All members, the oldest first. Used on the engine thread only.

    A paused sequence has no memory. It goes on, before anyone new may begin, as soon as what it
    needs was given back; the one that began first goes first.
    """

    def __init__(self, decoder: Decoder, most_sequences: int) -> None:
        self.members: list[Member] = []
        self._decoder = decoder
        self._most_sequences = most_sequences
        self._paused: list[TokenSequence] = []
        self._full_at: int | None = None

    def has_place(self, sequences: int) -> bool:
        """Whether so many may begin now: none before those that are paused."""
        return not self._paused and self.size() + sequences <= self._most_sequences

    def size(self) -> int:
        """How many sequences are not complete."""
        return sum(1 for member in self.members for _ in member.open())

    def rank(self) -> int:
        """That of the most urgent member."""
        return min(member.rank for member in self.members)

    def worst_rank(self) -> int:
        return max(member.rank for member in self.members)

    def add(self, member: Member) -> None:
        self.members.append(member)

    def remove(self, member: Member) -> None:
        """With all that its sequences hold."""
        self.members.remove(member)
        for sequence in member.generation.sequences:
            self.end(sequence)

    def end(self, sequence: TokenSequence) -> None:
        """It is complete, or not wanted any more."""
        self._decoder.drop(sequence)
        if sequence in self._paused:
            self._paused.remove(sequence)

    def running(self) -> list[tuple[Member, TokenSequence]]:
        """What the next step computes, the oldest first."""
        self._go_on()
        return [
            (member, sequence)
            for member in self.members
            for sequence in member.open()
            if sequence not in self._paused
        ]

    def pause_youngest(self, *, keep: int = 1) -> bool:
        """Take the memory of the one that began last among the least urgent.

        It is computed again when it goes on. False: there are no more than `keep`.
        """
        running = self.running()
        if len(running) <= keep:
            return False
        worst = max(member.rank for member, _ in running)
        _, sequence = [pair for pair in running if pair[0].rank == worst][-1]
        self._full_at = self._decoder.used_bytes
        self._decoder.drop(sequence)
        self._paused.append(sequence)
        return True

    def _go_on(self) -> None:
        """Let the oldest paused sequence go on, if there is room for all of it."""
        if not self._paused:
            return
        running = self.size() - len(self._paused)
        order = [s for member in self.members for s in member.open() if s in self._paused]
        needed = self._decoder.used_bytes + self._decoder.bytes_for(len(order[0]) + 1)
        has_room = self._full_at is not None and needed <= self._full_at
        if running == 0 or (has_room and running < self._most_sequences):
            self._paused.remove(order[0])
