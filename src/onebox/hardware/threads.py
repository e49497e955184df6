"""How many threads torch gets. Too many is far worse than too few: they wait for each other."""

from __future__ import annotations


def torch_threads(setting: int | None, cpus: int, *, workers: int = 1) -> int:
    """Torch threads of one worker.

    Args:
        setting: `ONEBOX_THREADS`, which decides if set.
        cpus: CPUs this process may really use, `os_support.usable_cpus()`.
        workers: workers that compute on the CPU at the same time and share the CPUs.
    """
    if setting is not None:
        return setting
    left = cpus - 1 if cpus > 2 else cpus
    return max(1, left // max(1, workers))
