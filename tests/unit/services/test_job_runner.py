"""Which job runs when, beside which others, and how it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from onebox.core.errors import Cancelled, WorkerLost
from onebox.core.results import Artifact
from onebox.services.jobs.job import Job
from onebox.services.jobs.live import Live
from tests.unit.runtime.clients import run_jumping as run
from tests.unit.services.workshop import Workshop, raising, until, waiting_for


async def stubborn(job: Job, live: Live) -> Sequence[Artifact]:
    """Does not hear that it is cancelled."""
    await asyncio.Event().wait()
    return []


async def obedient(job: Job, live: Live) -> Sequence[Artifact]:
    await until(lambda: live.cancelled)
    raise Cancelled("the request was cancelled")


class TestOrder:
    def test_only_so_many_run_at_a_time(self):
        async def scene() -> None:
            shop, gate = Workshop(concurrency=2), asyncio.Event()
            for name in "abcde":
                shop.does(name, waiting_for(gate))
            shop.put(*"abcde")
            shop.runner.start()
            await until(lambda: len(shop.executor.open) == 2)
            assert shop.runner.counts() == {"queued": 3, "running": 2}
            gate.set()
            await shop.all_ended()
            await shop.runner.close()
            assert (shop.executor.began, shop.executor.most_open) == (list("abcde"), 2)

        run(scene())

    def test_nothing_is_begun_before_a_worker_is_up(self):
        async def scene() -> None:
            shop = Workshop()
            shop.is_up = False
            shop.put("a")
            shop.runner.start()
            for _ in range(20):
                await asyncio.sleep(0)
            assert shop.state("a") == "queued"
            assert shop.store.jobs["a"].attempt == 0
            await shop.runner.close()

        run(scene())

    def test_one_that_lost_an_attempt_runs_with_no_other_beside_it(self):
        async def scene() -> None:
            shop, gates = Workshop(), {name: asyncio.Event() for name in "abc"}
            for name, gate in gates.items():
                shop.does(name, waiting_for(gate))
            shop.put("a")
            shop.put("b", lost=1)
            shop.put("c")
            shop.runner.start()
            for open_now in ({"a"}, {"b"}, {"c"}):
                await until(lambda: bool(shop.executor.open))
                assert shop.executor.open == open_now
                (name,) = open_now
                gates[name].set()
                await until(lambda: shop.state(name) == "completed")  # noqa: B023
            await shop.runner.close()

        run(scene())

    def test_a_job_that_ends_its_worker_each_time_takes_no_other_with_it(self):
        async def scene() -> None:
            shop = Workshop()
            dead = asyncio.Event()

            async def poison(job: Job, live: Live) -> Sequence[Artifact]:
                await until(lambda: len(shop.executor.open) in (1, 4))
                dead.set()
                raise WorkerLost("it ended")

            async def innocent(job: Job, live: Live) -> Sequence[Artifact]:
                await dead.wait()
                raise WorkerLost("it ended")

            shop.does("poison", poison, poison, poison)
            for name in "abc":
                shop.does(name, innocent)
            shop.put("poison", *"abc")
            shop.runner.start()
            await shop.all_ended()
            await shop.runner.close()
            assert {name: shop.state(name) for name in shop.store.jobs} == {
                "poison": "failed",
                **dict.fromkeys("abc", "completed"),
            }
            assert shop.executor.began.count("poison") == 3
            assert [shop.store.jobs[name].lost for name in "abc"] == [1, 1, 1]

        run(scene())


class TestStop:
    def stopped(self, *, action, stop_s: float = 5.0) -> Workshop:
        """A job that was begun, then cancelled, then stopped."""

        async def scene() -> Workshop:
            shop = Workshop(stop_s=stop_s)
            shop.does("a", action)
            shop.put("a")
            shop.runner.start()
            await until(lambda: bool(shop.executor.open))
            await shop.store.cancel("a")
            await shop.runner.stop("a")
            assert (shop.executor.open, shop.runner.live("a")) == (set(), None)
            await shop.runner.close()
            return shop

        return run(scene())

    def test_its_work_has_ended_when_it_is_stopped(self):
        shop = self.stopped(action=obedient)
        assert [change.type for change in shop.store.changes["a"]] == [
            "queued",
            "started",
            "cancelled",
        ]

    def test_what_does_not_listen_is_stopped_all_the_same(self):
        assert self.stopped(action=stubborn, stop_s=0).state("a") == "cancelled"

    def test_one_that_waits_is_never_begun(self):
        async def scene() -> None:
            shop, gate = Workshop(concurrency=1), asyncio.Event()
            shop.does("a", waiting_for(gate))
            shop.put("a", "b", "c")
            shop.runner.start()
            await until(lambda: bool(shop.executor.open))
            await shop.store.cancel("b")
            await shop.runner.stop("b")
            gate.set()
            await shop.all_ended()
            await shop.runner.close()
            assert shop.executor.began == ["a", "c"]

        run(scene())

    def test_one_that_waits_for_its_next_attempt_does_so_no_more(self):
        async def scene() -> None:
            shop = Workshop()
            shop.does("a", raising(WorkerLost("it ended", retry_after_s=1000)))
            shop.put("a")
            shop.runner.start()
            await until(lambda: shop.store.jobs["a"].lost == 1 and not shop.executor.open)
            await until(lambda: shop.runner.counts() == {"queued": 1, "running": 0})
            await shop.runner.stop("a")
            assert shop.runner.counts() == {"queued": 0, "running": 0}
            await shop.runner.close()

        run(scene())

    def test_one_that_is_cancelled_while_it_is_claimed_is_not_carried_out(self):
        async def scene() -> None:
            shop = Workshop()
            shop.put("a")

            async def cancelled() -> None:
                await shop.store.cancel("a")

            shop.store.before_claim = cancelled
            shop.runner.start()
            await until(lambda: shop.state("a") == "cancelled")
            await shop.runner.stop("a")
            await shop.runner.close()
            assert shop.executor.began == []

        run(scene())


class TestClose:
    def test_what_runs_is_given_back_and_has_lost_nothing(self):
        async def scene() -> None:
            shop = Workshop()
            shop.does("a", stubborn)
            shop.put("a")
            shop.runner.start()
            await until(lambda: bool(shop.executor.open))
            await shop.runner.close()
            job = shop.store.jobs["a"]
            assert (job.state, job.attempt, job.lost) == ("queued", 0, 0)
            assert shop.executor.open == set()

        run(scene())

    def test_one_that_is_being_claimed_is_given_back_as_well(self):
        async def scene() -> None:
            shop, begun, gate = Workshop(), asyncio.Event(), asyncio.Event()

            async def slow() -> None:
                begun.set()
                await gate.wait()

            shop.store.before_claim = slow
            shop.put("a")
            shop.runner.start()
            await begun.wait()
            closing = asyncio.ensure_future(shop.runner.close())
            await asyncio.sleep(0)
            gate.set()
            await closing
            job = shop.store.jobs["a"]
            assert (job.state, job.attempt, shop.executor.began) == ("queued", 0, [])

        run(scene())

    def test_after_it_nothing_is_begun(self):
        async def scene() -> None:
            shop = Workshop()
            shop.runner.start()
            await shop.runner.close()
            shop.put("a")
            for _ in range(20):
                await asyncio.sleep(0)
            assert shop.state("a") == "queued"

        run(scene())
