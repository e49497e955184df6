"""The clients' own books: what became of every request."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

HUNG = "HUNG"
BROKEN = "BROKEN"
LEFT = "left"


@dataclass(slots=True)
class Request:
    """One request.

    Attributes:
        answers: every answer it got; one is right, and none where its client left.
        left: its client disconnected.
        problem: what its client saw instead of an answer.
    """

    client: str
    started: float
    answers: list[str] = field(default_factory=list)
    left: bool = False
    problem: str = ""
    ended: float | None = None

    def verdict(self, hung_after_s: float) -> str:
        """Its answer, `LEFT`, `HUNG` or `BROKEN`. One without an end is taken to have hung."""
        if self.ended is None or self.ended - self.started > hung_after_s:
            return HUNG
        if self.left and not self.answers:
            return LEFT
        if len(self.answers) == 1 and not self.problem:
            return self.answers[0]
        return BROKEN


class Ledger:
    """All requests of a run. Safe to use from the clients' threads."""

    def __init__(self, hung_after_s: float) -> None:
        self._hung_after_s = hung_after_s
        self._lock = threading.Lock()
        self._requests: list[Request] = []

    @contextmanager
    def request(self, client: str) -> Iterator[Request]:
        """Book a request for the time of the body. An error in there is what it ended in."""
        request = Request(client, time.monotonic())
        with self._lock:
            self._requests.append(request)
        try:
            yield request
        except Exception as error:
            request.problem = f"{type(error).__name__}: {error}"
        finally:
            request.ended = time.monotonic()

    def verdicts(self, *, with_open: bool) -> dict[str, Counter[str]]:
        """How many requests of each client ended how; `with_open`: those without an end as well."""
        counts: dict[str, Counter[str]] = {}
        for request in self._copy(with_open):
            verdict = request.verdict(self._hung_after_s)
            counts.setdefault(request.client, Counter())[verdict] += 1
        return counts

    def failures(self, *, with_open: bool) -> list[str]:
        """A line for each request that hung, or had no answer or several."""
        lines = []
        for request in self._copy(with_open):
            verdict = request.verdict(self._hung_after_s)
            if verdict in (HUNG, BROKEN):
                seconds = (request.ended or time.monotonic()) - request.started
                lines.append(
                    f"{request.client}: {verdict} after {seconds:.1f} s, "
                    f"answers {request.answers}, {request.problem or 'no error'}"
                )
        return lines

    def slowest_s(self) -> float:
        """The longest that any request took to its end."""
        return max((r.ended - r.started for r in self._copy(False) if r.ended), default=0.0)

    def _copy(self, with_open: bool) -> list[Request]:
        with self._lock:
            return [r for r in self._requests if with_open or r.ended is not None]
