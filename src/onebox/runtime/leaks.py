"""Whether memory comes back after unloading. Arithmetic over measured bytes; measures nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unloaded:
    """What one unload gave back, and how much less that is than its load had taken."""

    returned_bytes: int
    missing_bytes: int


class LeakWatch:
    """Adds up what loads took and what unloads gave back. Called under `BundleCache._loads`.

    One unload's shortfall proves nothing, for others may have taken memory meanwhile. It only makes
    the worker suspect; `judge` decides, with a measurement taken while nothing runs.

    Attributes:
        returned_bytes: what all unloads so far gave back.
        leaked_bytes: what they did not, as last judged.
        suspect: whether `judge` should be called when nothing runs.
        wants_restart: why the worker should be restarted, if it should. Stays.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.returned_bytes = 0
        self.leaked_bytes = 0
        self.suspect = False
        self.wants_restart: str | None = None
        self._limit_bytes = limit_bytes
        self._base_bytes: int | None = None
        self._taken: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._missing_bytes = 0
        self._short: dict[str, None] = {}

    def on_load(self, held_before: int) -> None:
        """A load begins; what is held before the first one is nobody's leak."""
        if self._base_bytes is None:
            self._base_bytes = held_before

    def on_loaded(self, key: str, size_bytes: int, held_before: int, held_after: int) -> None:
        self._taken[key] = max(0, held_after - held_before)
        self._sizes[key] = size_bytes

    def on_failed(self, name: str, held_before: int, held_after: int) -> None:
        """A load failed; what it left behind is missing."""
        self._miss(name, max(0, held_after - held_before))

    def on_unloaded(self, key: str, name: str, held_before: int, held_after: int) -> Unloaded:
        taken = self._taken.pop(key, 0)
        self._sizes.pop(key, None)
        returned = max(0, held_before - held_after)
        missing = max(0, taken - returned)
        self.returned_bytes += returned
        self._miss(name, missing)
        return Unloaded(returned, missing)

    def judge(self, held_now: int) -> None:
        """Decide with what is held while nothing runs and after freed memory went back."""
        # A file that is mapped takes memory only as it is used: its load took less than it holds.
        alive = sum(max(taken, self._sizes[key]) for key, taken in self._taken.items())
        self.leaked_bytes = max(0, held_now - (self._base_bytes or 0) - alive)
        if self.leaked_bytes > self._limit_bytes and self.wants_restart is None:
            self.wants_restart = (
                f"{self.leaked_bytes} bytes were not given back after unloading "
                f"{_listed(self._short)}; the limit is {self._limit_bytes}"
            )
        self.suspect = False
        self._missing_bytes = 0
        self._short.clear()

    def _miss(self, name: str, missing_bytes: int) -> None:
        if missing_bytes > 0:
            self._short[name] = None
        self._missing_bytes += missing_bytes
        self.suspect = self.suspect or self._missing_bytes > self._limit_bytes


def _listed(names: Collection[str]) -> str:
    return ", ".join(names)
