"""Keeps the models of `ONEBOX_PRELOAD` in memory, from the start on and after each restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from onebox.core.errors import AppError

log = structlog.get_logger(__name__)

WATCH_S = 1.0
FIRST_RETRY_S = 1.0
MAX_RETRY_S = 30.0


class Preloader:
    """Owns one task per model, on the gateway's event loop.

    Args:
        names: of the models, as a client would give them.
        load: puts one into memory; raises AppError.
        generation: a value that changes when what was loaded is gone, or a worker came up.
        wait_ready: until a worker is up; raises AppError when none comes.
    """

    def __init__(
        self,
        names: Sequence[str],
        load: Callable[[str], Awaitable[None]],
        generation: Callable[[], object],
        wait_ready: Callable[[], Awaitable[None]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._names = tuple(dict.fromkeys(names))
        self._load = load
        self._generation = generation
        self._wait_ready = wait_ready
        self._sleep = sleep
        self._loaded_in: dict[str, object] = {}
        self._problems: dict[str, list[str]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns at once; `ready` tells when all are in."""
        self._tasks = [
            asyncio.create_task(self._keep_loaded(name), name=f"preload-{name}")
            for name in self._names
        ]

    async def close(self) -> None:
        """Ends the tasks; what is loaded stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def ready(self) -> bool:
        """Whether all are in, in the present generation."""
        return all(self._is_loaded(name, self._generation()) for name in self._names)

    def reasons(self) -> list[str]:
        """Which are missing, each with what its last try ended in."""
        generation = self._generation()
        return [
            f"{name} is not loaded yet" + self._last_problem(name)
            for name in self._names
            if not self._is_loaded(name, generation)
        ]

    async def _keep_loaded(self, name: str) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            if self._is_loaded(name, self._generation()):
                await self._sleep(WATCH_S)
            elif await self._try_load(name):
                retry_s = FIRST_RETRY_S
            else:
                await self._sleep(retry_s)
                retry_s = min(2 * retry_s, MAX_RETRY_S)

    async def _try_load(self, name: str) -> bool:
        try:
            await self._wait_ready()
            # Read before the load: a restart during it must make it be loaded again.
            generation = self._generation()
            await self._load(name)
        except AppError as error:
            self._failed(name, error.message)
            return False
        except Exception as error:
            # A fault of ours must not end the task: the server would stay unready for good.
            self._failed(name, "an internal error; the server's log says why", error)
            return False
        self._loaded_in[name] = generation
        self._problems.pop(name, None)
        log.info("preloaded", model=name)
        return True

    def _failed(self, name: str, problem: str, fault: Exception | None = None) -> None:
        """The last problem is kept last; each is logged the first time."""
        problems = self._problems.setdefault(name, [])
        if problem in problems:
            problems.remove(problem)
        else:
            log.warning("preload failed", model=name, reason=problem, exc_info=fault)
        problems.append(problem)

    def _last_problem(self, name: str) -> str:
        problems = self._problems.get(name)
        return f": {problems[-1]}" if problems else ""

    def _is_loaded(self, name: str, generation: object) -> bool:
        return name in self._loaded_in and self._loaded_in[name] == generation
