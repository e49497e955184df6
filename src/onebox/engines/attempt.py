"""An attempt: one batch on the device, so that each of its requests is answered whatever happens.

Memory that runs out is given back and the run repeated with less; a request that breaks its batch
is found by halves, and fails alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from onebox.core.contracts import Bundle
from onebox.core.errors import AppError, InferenceFailed, OutOfMemory
from onebox.core.logs import logged_for
from onebox.engines.work import Runner, Work
from onebox.hardware.out_of_memory import is_out_of_memory

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Runs works on one leased bundle. Used on the engine thread.

    Attributes:
        recover: gives memory back after it ran out.
        between_steps: called between steps, and told whether the run is lean.
    """

    runner: Runner
    recover: Callable[[], None]
    bundle: Bundle
    between_steps: Callable[[bool], None]

    def run(self, works: Sequence[Work], *, lean: bool = False) -> None:
        """Answer all works. Raises only what `recover` or a work's `fail` raises."""
        works = still_wanted(works)
        if not works:
            return
        with logged_for(works):
            error = self._failure(works, lean)
        if error is None:
            return
        left = still_wanted(works)
        ran_out = is_out_of_memory(error)
        is_last = len(works) == 1 and (lean or not ran_out)
        self._log(error, left, ran_out, lean)
        # The frames hold the tensors of the run that failed.
        forget_frames(error)
        if ran_out:
            self.recover()
        if not is_last:
            for part in halves(left):
                self.run(part, lean=lean or ran_out)
        elif left:
            left[0].fail(_out_of_memory(left[0]) if ran_out else _answer(error))

    def _failure(self, works: Sequence[Work], lean: bool) -> BaseException | None:
        """Run once. A plugin may raise anything, exits and interrupts too."""
        try:
            self.runner(works, self.bundle, functools.partial(self.between_steps, lean), lean=lean)
        except BaseException as error:
            return error
        return None

    def _log(self, error: BaseException, left: Sequence[Work], ran_out: bool, lean: bool) -> None:
        if not left:
            return
        with logged_for(left):
            if ran_out:
                log.warning("out_of_memory", lean=lean, error=str(error))
            elif not isinstance(error, AppError):
                log.error("request_failed", exc_info=error)


def still_wanted(works: Sequence[Work]) -> list[Work]:
    """Those that may go on. The others are answered with why they may not."""
    wanted = []
    for work in works:
        reason = work.token.stopped()
        if reason is None:
            wanted.append(work)
        else:
            work.fail(reason)
    return wanted


def halves(works: Sequence[Work]) -> list[Sequence[Work]]:
    """The works in two parts, the first not smaller; fewer parts when there are fewer works."""
    middle = (len(works) + 1) // 2
    return [part for part in (works[:middle], works[middle:]) if part]


def forget_frames(error: BaseException) -> None:
    """Drop the frames that an error and those it came from keep alive."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            pending += [one.__cause__, one.__context__]


def _answer(error: BaseException) -> AppError:
    """What the client is told. Only our own errors' texts are safe to pass on."""
    if isinstance(error, AppError):
        return error
    return InferenceFailed("the model failed on this request; the server's log says why")


def _out_of_memory(work: Work) -> OutOfMemory:
    return OutOfMemory(
        f"memory ran out while this request ran, also in the leaner second try, with "
        f"{work.reserve_bytes} bytes set aside for it; ask for less, or try again later",
        details={"reserve_bytes": work.reserve_bytes},
        should_retry=False,
    )
