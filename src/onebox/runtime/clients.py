"""`create_client`: which of the kinds of workers there is, by the settings."""

from __future__ import annotations

from collections.abc import Callable

from onebox.core.media import Spool
from onebox.core.settings import Settings
from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.wire import Start
from onebox.runtime.worker_client import WorkerClient


def create_client(
    settings: Settings,
    spool: Spool,
    pools: MemoryPools,
    is_current: Callable[[str], bool],
    index: int,
) -> WorkerClient:
    """For the worker of the device of that number; `is_current` as in `WorkerClient`."""
    start = Start(
        index=index,
        devices=settings.device,
        threads=settings.threads,
        memory_budget=settings.memory_budget,
        idle_timeout_s=settings.idle_timeout,
        lease_timeout_s=settings.lease_timeout,
        leak_limit_bytes=int(settings.leak_limit),
        batch_window_s=settings.batch_window,
        max_sequences=settings.max_sequences,
        prefix_cache_bytes=int(settings.prefix_cache),
        spool=str(settings.data_dir / "spool"),
    )
    if settings.worker == "inline":
        # Only here, on demand: it brings torch into the gateway.
        from onebox.runtime.inline_client import InlineWorkerClient

        return InlineWorkerClient(start, spool, pools, is_current)
    from onebox.runtime.process_client import ProcessWorkerClient

    return ProcessWorkerClient(
        start,
        spool,
        pools,
        is_current,
        hang_timeout_s=settings.hang_timeout,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )
