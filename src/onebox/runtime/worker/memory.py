"""`BundleMemory`: what the engine of one bundle may ask of its worker's cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from onebox.core.contracts import Bundle, Entry
from onebox.core.errors import Cancelled
from onebox.engines.work import Work
from onebox.runtime.cache import BundleCache
from onebox.runtime.slot import Want


class BundleMemory:
    """The `Memory` of one entry's engine.

    Args:
        loading: told how far a load is, for all requests that wait for it.
    """

    def __init__(
        self,
        entry: Entry,
        cache: BundleCache,
        loading: Callable[[str, float, int | None], None],
        recover: Callable[[], None],
    ) -> None:
        self._entry = entry
        self._cache = cache
        self._loading = loading
        self.recover = recover

    def lease(self, works: Sequence[Work]) -> AbstractContextManager[Bundle]:
        return self._cache.lease(self._want(works))

    def lease_now(self, works: Sequence[Work]) -> AbstractContextManager[Bundle] | None:
        return self._cache.lease_now(self._want(works))

    def working_bytes(self, work: Work) -> int:
        return self._cache.working_bytes(self._entry.key, work.estimate_bytes)

    def resize(self, extra_bytes: int) -> bool:
        return self._cache.resize(self._entry.key, extra_bytes)

    def others_wait(self) -> bool:
        return self._cache.others_wait(self._entry.key)

    def _want(self, works: Sequence[Work]) -> Want:
        return Want(
            self._entry,
            works[0].estimate_bytes,
            sum(work.reserve_bytes for work in works),
            check=lambda: _drop_stopped(works),
            loading=lambda fraction, size_bytes=None: self._loading(
                self._entry.key, fraction, size_bytes
            ),
        )


def _drop_stopped(works: Sequence[Work]) -> None:
    """Answer those that must stop while the others wait on. Raises when none is left."""
    reasons = [work.token.stopped() for work in works]
    for work, reason in zip(works, reasons, strict=True):
        if reason is not None:
            work.fail(reason)
    if all(reasons):
        raise reasons[-1] or Cancelled("nobody waits for the result")
