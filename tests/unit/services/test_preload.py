from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from structlog.testing import capture_logs

from onebox.core.errors import ModelNotFound, WorkerUnready
from onebox.services.preload import Preloader

BOUND_S = 120


class Server:
    """What the preloader sees of the rest: loads that fail as told, and restarts.

    It sleeps until the test wakes it, so each step of it can be looked at.
    """

    def __init__(self, *names: str) -> None:
        self.generation = 0
        self.loads: list[str] = []
        self.failures: dict[str, Exception] = {}
        self._naps: asyncio.Queue[tuple[float, asyncio.Event]] = asyncio.Queue()
        self.preloader = Preloader(
            names, self._load, lambda: self.generation, self._wait_ready, sleep=self._sleep
        )

    async def nap(self) -> tuple[float, Callable[[], None]]:
        """The next time that one goes to sleep: for how long, and what wakes it."""
        seconds, wake = await self._naps.get()
        return seconds, wake.set

    async def _load(self, name: str) -> None:
        self.loads.append(name)
        if name in self.failures:
            raise self.failures[name]

    async def _wait_ready(self) -> None:
        """The first worker comes up."""
        self.generation = max(self.generation, 1)

    async def _sleep(self, seconds: float) -> None:
        wake = asyncio.Event()
        await self._naps.put((seconds, wake))
        await wake.wait()


def run(scenario: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, BOUND_S))


def test_without_names_it_is_ready_and_runs_nothing():
    async def scenario():
        server = Server()
        tasks = asyncio.all_tasks()
        await server.preloader.start()
        assert server.preloader.ready()
        assert server.preloader.reasons() == []
        assert asyncio.all_tasks() == tasks
        await server.preloader.close()

    run(scenario())


def test_it_is_ready_when_all_are_in_and_then_only_watches():
    async def scenario():
        server = Server("a", "b", "a")
        await server.preloader.start()
        assert not server.preloader.ready()
        assert server.preloader.reasons() == ["a is not loaded yet", "b is not loaded yet"]
        for _ in "ab":
            assert (await server.nap())[0] == 1
        assert server.preloader.ready()
        assert server.preloader.reasons() == []
        assert server.loads == ["a", "b"]
        await server.preloader.close()

    run(scenario())


def test_one_that_fails_says_why_and_does_not_hold_up_the_others():
    async def scenario():
        server = Server("bad", "good")
        server.failures["bad"] = ModelNotFound("there is no model bad")
        await server.preloader.start()
        for _ in range(2):
            await server.nap()
        assert server.loads == ["bad", "good"]
        assert not server.preloader.ready()
        assert server.preloader.reasons() == ["bad is not loaded yet: there is no model bad"]
        await server.preloader.close()

    run(scenario())


def test_it_is_tried_again_ever_more_slowly_until_it_is_in():
    async def scenario():
        server = Server("a")
        server.failures["a"] = WorkerUnready("the worker is starting")
        await server.preloader.start()
        pauses = []
        for _ in range(7):
            seconds, wake = await server.nap()
            pauses.append(seconds)
            wake()
        assert pauses == [1, 2, 4, 8, 16, 30, 30]
        await server.nap()
        assert len(server.loads) == 8
        assert not server.preloader.ready()
        await server.preloader.close()

    run(scenario())


def test_a_success_ends_the_back_off_and_the_reasons():
    async def scenario():
        server = Server("a")
        server.failures["a"] = WorkerUnready("the worker is starting")
        await server.preloader.start()
        for _ in range(3):
            _, wake = await server.nap()
            wake()
        _, wake = await server.nap()
        failure = server.failures.pop("a")
        wake()
        _, wake = await server.nap()
        assert server.preloader.ready()
        server.failures["a"] = failure
        server.generation += 1
        assert server.preloader.reasons() == ["a is not loaded yet"]
        wake()
        assert (await server.nap())[0] == 1
        await server.preloader.close()

    run(scenario())


def test_after_a_restart_everything_is_loaded_again():
    async def scenario():
        server = Server("a", "b")
        await server.preloader.start()
        naps = [await server.nap() for _ in "ab"]
        server.generation += 1
        assert not server.preloader.ready()
        assert server.preloader.reasons() == ["a is not loaded yet", "b is not loaded yet"]
        for _, wake in naps:
            wake()
        for _ in "ab":
            await server.nap()
        assert server.loads == ["a", "b", "a", "b"]
        assert server.preloader.ready()
        await server.preloader.close()

    run(scenario())


def test_a_restart_during_a_load_makes_it_be_loaded_again():
    async def scenario():
        server = Server("a")

        async def load(name: str) -> None:
            server.loads.append(name)
            if len(server.loads) == 1:
                server.generation += 1

        preloader = Preloader(
            ["a"], load, lambda: server.generation, server._wait_ready, sleep=server._sleep
        )
        await preloader.start()
        await server.nap()
        assert server.loads == ["a", "a"]
        assert preloader.ready()
        await preloader.close()

    run(scenario())


def test_each_reason_is_logged_once():
    async def scenario():
        server = Server("a")
        starting, hashing = WorkerUnready("starting"), ModelNotFound("hashing")
        server.failures["a"] = starting
        await server.preloader.start()
        for failure in (starting, hashing, starting, hashing):
            _, wake = await server.nap()
            server.failures["a"] = failure
            wake()
        await server.nap()
        assert server.preloader.reasons() == ["a is not loaded yet: hashing"]
        await server.preloader.close()

    with capture_logs() as logs:
        run(scenario())
    warned = [entry["reason"] for entry in logs if entry["event"] == "preload failed"]
    assert warned == ["starting", "hashing"]


def test_a_fault_of_ours_is_logged_and_tried_again():
    async def scenario():
        server = Server("a")
        server.failures["a"] = KeyError("secret")
        await server.preloader.start()
        _, wake = await server.nap()
        (reason,) = server.preloader.reasons()
        assert "secret" not in reason
        server.failures = {}
        wake()
        await server.nap()
        assert server.preloader.ready()
        await server.preloader.close()

    with capture_logs() as logs:
        run(scenario())
    (warning,) = [entry for entry in logs if entry["event"] == "preload failed"]
    assert isinstance(warning["exc_info"], KeyError)


def test_close_leaves_no_task_behind():
    async def scenario():
        before = asyncio.all_tasks()
        server = Server("a", "b")
        server.failures["a"] = ModelNotFound("there is no model a")
        await server.preloader.start()
        await server.nap()
        await server.preloader.close()
        assert asyncio.all_tasks() == before

    run(scenario())


def test_what_is_asked_for_before_a_worker_is_up_is_loaded_once():
    async def scenario():
        server = Server("a")
        assert server.generation == 0
        await server.preloader.start()
        await server.nap()
        assert server.preloader.ready()
        assert server.loads == ["a"]
        await server.preloader.close()

    run(scenario())
