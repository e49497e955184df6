"""Loads and closes bundles, and measures what that does to memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from onebox.core.contracts import Bundle, Entry
from onebox.engines.work import LoadFailed
from onebox.hardware.out_of_memory import is_out_of_memory
from onebox.runtime.leaks import LeakWatch
from onebox.runtime.load_progress import LoadProgress
from onebox.runtime.slot import Want, load_error

log = structlog.get_logger(__name__)


class Loader:
    """One load or close at a time: all is called under `BundleCache._loads`.

    Args:
        load: loads the weights of an entry.
        free_memory: gives freed memory back to the device and the system.
        held_bytes: what this process holds of the pool now.
    """

    def __init__(
        self,
        load: Callable[[Entry], Bundle],
        free_memory: Callable[[], None],
        held_bytes: Callable[[], int],
        leaks: LeakWatch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._free_memory = free_memory
        self._held_bytes = held_bytes
        self._leaks = leaks
        self._clock = clock

    def load(self, want: Want, evict_idle: Callable[[], None]) -> Bundle:
        """Load the bundle. When memory runs out: `evict_idle`, and once more.

        Raises LoadFailed; then nothing of the load is left in memory.
        """
        started, held_before = self._clock(), self._held_by_bundles()
        self._leaks.on_load(held_before)
        failure: LoadFailed | None = None
        try:
            want.loading(0.0)
            with LoadProgress(want.loading, want.estimate_bytes, self._held_bytes):
                bundle = self._try_twice(want.entry, evict_idle)
        except BaseException as error:
            log.exception("load_failed", model=want.entry.name)
            failure = LoadFailed(load_error(want.entry, error))
        # Only now: until here the error's frames held the weights that were loaded so far.
        if failure is not None:
            self._free_memory()
            self._leaks.on_failed(want.entry.name, held_before, self._held_bytes())
            raise failure
        held_after = self._held_bytes()
        self._leaks.on_loaded(want.entry.key, bundle.size_bytes, held_before, held_after)
        log.info(
            "loaded",
            model=want.entry.name,
            size_bytes=bundle.size_bytes,
            estimate_bytes=want.estimate_bytes,
            taken_bytes=held_after - held_before,
            seconds=round(self._clock() - started, 3),
        )
        return bundle

    def close(self, entry: Entry, bundle: Bundle) -> None:
        """Close a bundle that nobody uses, and tell what came back."""
        held_before, size_bytes = self._held_by_bundles(), bundle.size_bytes
        try:
            bundle.close()
        except Exception:
            # Its place is free all the same: what it did not give back is measured below.
            log.exception("close_failed", model=entry.name)
        self._free_memory()
        held_after = self._held_bytes()
        unloaded = self._leaks.on_unloaded(entry.key, entry.name, held_before, held_after)
        log.info(
            "unloaded",
            model=entry.name,
            size_bytes=size_bytes,
            returned_bytes=unloaded.returned_bytes,
            missing_bytes=unloaded.missing_bytes,
        )

    def judge_leaks(self, still_idle: Callable[[], bool]) -> None:
        """Measure what leaked. Counts only if `still_idle` after the measurement."""
        self._free_memory()
        held = self._held_bytes()
        if still_idle():
            self._leaks.judge(held)

    def _held_by_bundles(self) -> int:
        """What runs have freed would be taken first by a load, and given back by an unload."""
        self._free_memory()
        return self._held_bytes()

    def _try_twice(self, entry: Entry, evict_idle: Callable[[], None]) -> Bundle:
        try:
            return self._load(entry)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            log.warning("load_ran_out_of_memory", model=entry.name)
        # Out of the block above, so that the first try's frames are gone.
        self._free_memory()
        evict_idle()
        return self._load(entry)
