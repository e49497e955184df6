"""From a `Start` frame to a ready `Worker`: choose the device, set the threads, size the budget."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from onebox.core.errors import WorkerUnready
from onebox.core.media import Spool
from onebox.core.os_support import usable_cpus
from onebox.hardware.backend import TorchBackend
from onebox.hardware.detector import choose, detect
from onebox.hardware.determinism import ENVIRONMENT
from onebox.hardware.memory import free_bytes
from onebox.hardware.shares import budget_of, threads_of
from onebox.runtime.wire import FromWorker, Hello, Start
from onebox.runtime.worker.worker import Worker

# The libraries under a family must never ask the model hub, nor send telemetry. They read this
# when they are imported.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

# How long torch's threads on the CPU spin for each other before they sleep. By default they hardly
# ever sleep, and with one other busy process on two cores a picture took up to 15 s instead of 3;
# on an idle machine it makes no difference.
SPINS = "20000"

# Torch's compiler would start processes of its own, and keep them.
COMPILE_THREADS = "1"


def create_worker(
    start: Start, spool: Spool, emit: Callable[[FromWorker], None]
) -> tuple[Worker, Hello]:
    """Imports torch.

    Raises InvalidInput or WorkerUnready when the wanted device is not to be had.
    """
    os.environ.update({**OFFLINE, **ENVIRONMENT})
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", COMPILE_THREADS)
    if start.compiled is not None:
        # Whatever they were: torch itself puts a place in the system's temporary folder there.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = start.compiled
        os.environ["TRITON_CACHE_DIR"] = os.path.join(start.compiled, "triton")
    import torch

    backend = TorchBackend()
    chosen = choose(detect(backend), start.devices)
    if start.index >= len(chosen):
        raise WorkerUnready(f"device number {start.index} is gone; {len(chosen)} are left")
    device = chosen[start.index]
    # Measured again: what the detector saw was before this process opened the device.
    device = msgspec.structs.replace(device, free_bytes=free_bytes(device, backend))
    threads = threads_of(device, chosen, start.threads, usable_cpus())
    torch.set_num_threads(threads)
    budget = budget_of(device, chosen, start.memory_budget)
    worker = Worker(
        start, device, budget, spool, emit, free_bytes=lambda: free_bytes(device, backend)
    )
    return worker, Hello(os.getpid(), device, tuple(chosen), budget, threads)
