"""`create_client`: which of the kinds of workers there is, by the settings."""

from __future__ import annotations

import os
from collections.abc import Callable

from onebox.core.log_settings import log_file_plan
from onebox.core.media import Spool
from onebox.core.settings import Settings
from onebox.core.settings_secrets import without_secrets
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
    plan = log_file_plan(settings)
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
        log_file=plan.of_worker(index) if plan else None,
        compiled=str(settings.data_dir / "compiled"),
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
        environment={
            **without_secrets(os.environ, settings),
            "ONEBOX_LOG_LEVEL": settings.log_level,
            "ONEBOX_LOG_FORMAT": settings.log_format,
        },
    )
