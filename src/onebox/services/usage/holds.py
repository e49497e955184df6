"""`Holds`: what running requests are likely to take, so that many at once take no more than one."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from onebox.services.usage import foresight
from onebox.services.usage.usage import OK, Amounts, Usage

# Each request weighs so much in what is usual.
WEIGHT = 1 / 16
# A task and a model.
Kind = tuple[str, str]


class Hold:
    """A request's part of what its caller may take. It ends with `release`, or with the request."""

    __slots__ = ("_ended", "amounts", "caller")

    def __init__(self, caller: str, amounts: Amounts, ended: Callable[[Hold, bool], None]) -> None:
        self.caller = caller
        self.amounts = amounts
        self._ended: Callable[[Hold, bool], None] | None = ended

    def release(self) -> None:
        """The ledger has it now. Further calls do nothing."""
        self._end(has_run=True)

    def __del__(self) -> None:
        self._end(has_run=False)

    def _end(self, *, has_run: bool) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self, has_run)


@dataclass(frozen=True, slots=True)
class _End:
    """Of a hold. One that has not run was refused, or waits as a job: it counts on until the jobs
    that wait are looked at.
    """

    caller: str
    amounts: Amounts
    has_run: bool
    at: float


@dataclass(slots=True)
class _Held:
    """By one caller: how many holds, and of how much."""

    count: int = 0
    amounts: Amounts = field(default_factory=Amounts)


class Holds:
    """Lives on the gateway's event loop.

    Args:
        clock: any seconds that only go up.
        price: amounts with what they cost for a model; by default nothing.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        price: Callable[[Amounts, str], Amounts] = lambda amounts, _: amounts,
    ) -> None:
        self._clock = clock
        self._price = price
        self._held: dict[str, _Held] = {}
        # Objects may be deleted in any thread: what that means is done later.
        self._ends: deque[_End] = deque()
        self._lingering: deque[_End] = deque()
        self._promised: Mapping[str, Amounts] = {}
        self._usual: dict[Kind, Amounts] = {}
        self._usual_of_task: dict[str, Amounts] = {}

    def hold(self, caller: str, task: str, model: str, request: BaseModel | None = None) -> Hold:
        """What the request will take, as far as it says so, and else what such a one usually does.

        Args:
            request: the task's input.
        """
        amounts = self.usual(task, model, request)
        held = self._held.setdefault(caller, _Held())
        held.count, held.amounts = held.count + 1, held.amounts + amounts
        return Hold(caller, amounts, self._note)

    def held(self, caller: str) -> Amounts:
        """By all requests of a caller that run, or wait as jobs."""
        self._settle()
        held = self._held.get(caller)
        amounts = Amounts() if held is None else held.amounts
        promised = self._promised.get(caller)
        return amounts if promised is None else amounts + promised

    def usual(self, task: str, model: str, request: BaseModel | None = None) -> Amounts:
        """Of that model, or of the last one that did such a task; else of a first one."""
        found = self._usual.get((task, model)) or self._usual_of_task.get(task)
        if found is None:
            return self._price(foresight.first_of(task, request), model)
        changed = foresight.adjusted(found, task, request)
        return found if changed is found else self._price(changed, model)

    def learn(self, usage: Usage) -> None:
        """What a request took that ended well."""
        if usage.status != OK:
            return
        kind = usage.task, usage.model
        before = self._usual.get(kind)
        usual = usage.amounts if before is None else _blended(before, usage.amounts)
        self._usual[kind] = self._usual_of_task[usage.task] = usual

    def start_with(self, sums: Mapping[Kind, Amounts]) -> None:
        """What requests took so far, all together."""
        for kind, amounts in sums.items():
            if amounts.requests:
                usual = amounts.times(1 / amounts.requests)
                self._usual.setdefault(kind, usual)
                self._usual_of_task.setdefault(kind[0], usual)

    def promise(self, jobs: Iterable[tuple[str, str, str, int]], asked_at: float) -> None:
        """How many jobs of a caller, task and model wait or run, asked at a time of the clock."""
        promised: defaultdict[str, Amounts] = defaultdict(Amounts)
        for caller, task, model, count in jobs:
            promised[caller] += self.usual(task, model).times(count)
        self._promised = dict(promised)
        self._settle()
        while self._lingering and self._lingering[0].at <= asked_at:
            self._drop(self._lingering.popleft())

    def _note(self, hold: Hold, has_run: bool) -> None:
        self._ends.append(_End(hold.caller, hold.amounts, has_run, self._clock()))

    def _settle(self) -> None:
        while self._ends:
            end = self._ends.popleft()
            if end.has_run:
                self._drop(end)
            else:
                self._lingering.append(end)

    def _drop(self, end: _End) -> None:
        held = self._held[end.caller]
        held.count, held.amounts = held.count - 1, held.amounts - end.amounts
        if not held.count:
            del self._held[end.caller]


def _blended(before: Amounts, new: Amounts) -> Amounts:
    return before + (new - before).times(WEIGHT)
