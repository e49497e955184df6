"""`Drain`: the server's way out. Load balancers hear of it first, then new work, then it waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sized

from onebox.runtime.worker_client import WorkerClient
from onebox.runtime.worker_pool import WorkerPool
from onebox.services.admission import Admission

# How often it looks whether all has ended, or whether it is to hurry.
TICK_S = 0.05


class Drain:
    """Lives on the gateway's event loop; `begin` may be called by a signal handler.

    Args:
        running: the requests that have no answer yet.
        remote: clients of models that run elsewhere.
        clock: seconds that only grow.

    Attributes:
        begun: `/ready` says no from then on; all else is answered as ever.
    """

    def __init__(
        self,
        admission: Admission,
        running: Sized,
        pool: WorkerPool,
        remote: Collection[WorkerClient] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        tick_s: float = TICK_S,
    ) -> None:
        self._admission = admission
        self._running = running
        self._pool = pool
        self._remote = remote
        self._clock = clock
        self._tick_s = tick_s
        self._hurried = False
        self.begun = False

    def begin(self) -> None:
        """The first call begins it, a further one hurries it: nothing is waited for any more."""
        self._hurried, self.begun = self.begun, True

    async def told(self, delay_s: float) -> None:
        """Until load balancers had the time to see it; new work still comes in meanwhile."""
        end = self._clock() + delay_s
        while not self._hurried and self._clock() < end:
            await asyncio.sleep(self._tick_s)

    async def finish(self, grace_s: float) -> None:
        """Take no new work, let what was taken end within the grace time, then stop the workers.

        What has not ended by then is answered with ShuttingDown.
        """
        self._admission.close()
        end = self._clock() + grace_s
        while not self._hurried and self._busy() and self._clock() < end:
            await asyncio.sleep(self._tick_s)
        await asyncio.gather(self._pool.close(0), *(client.close(0) for client in self._remote))

    def _busy(self) -> bool:
        return len(self._running) > 0 or any(client.pending for client in self._pool.clients)
