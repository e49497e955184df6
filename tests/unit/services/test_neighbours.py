"""Several servers on one database: each has jobs of its own, and takes up those of a dead one."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import ValidationError
from sqlalchemy import update

from onebox.core.errors import QueueFull
from onebox.core.settings import Settings
from onebox.core.units import DAY_S
from onebox.services.jobs.neighbours import Neighbours
from onebox.services.jobs.store import JobStore
from onebox.services.tables import JOBS
from tests.support.clock import Clock
from tests.unit.services.job_kit import Kit, begin, finish, insert, lying

LOST_S = 60.0


class Runner:
    """Notes what it is told. `at_work` is what attempts are made at."""

    def __init__(self) -> None:
        self.at_work: list[str] = []
        self.put_in: list[str] = []
        self.stopped: list[str] = []
        self.may_stop = asyncio.Event()
        self.may_stop.set()

    def running(self) -> list[str]:
        return self.at_work

    def put(self, jobs) -> None:
        self.put_in += [job.id for job in jobs]

    async def stop(self, job_id: str) -> None:
        self.stopped.append(job_id)
        await self.may_stop.wait()


class Updates:
    def __init__(self) -> None:
        self.looks = 0

    def look_again(self) -> None:
        self.looks += 1

    def state_changed(self, job_id: str) -> None:
        pass


class Town:
    """Servers of one database, each with a store and neighbours."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.clock = Clock()
        self.runners: dict[str, Runner] = {}
        self.stores: dict[str, JobStore] = {}
        self.neighbours: dict[str, Neighbours] = {}

    def settle(self, name: str, lost_s: float = LOST_S, **changes) -> JobStore:
        store = self.stores[name] = self.kit.store(owner=name, **changes)
        runner = self.runners[name] = Runner()
        given = (name, store, runner, Updates())
        self.neighbours[name] = Neighbours(*given, lost_s=lost_s, clock=self.clock)
        return store

    async def look(self, *names: str) -> None:
        for name in names:
            await self.neighbours[name].look()

    async def die(self, *left: str) -> None:
        """Those that are left go on until all others are lost."""
        for _ in range(3):
            await self.look(*left)
            self.clock.now += LOST_S / 2
        await self.look(*left)


@pytest.fixture
def town(kit: Kit) -> Town:
    return Town(kit)


def test_a_server_that_starts_leaves_the_jobs_of_another_alone(town: Town):
    async def act():
        a = town.settle("a")
        running, waiting = await begin(a), await insert(a)
        b = town.settle("b")
        assert await asyncio.to_thread(b.recover) == []
        assert (await a.get(running.id)).state == "running"
        # Not even when it is named.
        assert await b.claim(waiting.id) is None
        assert await finish(town.kit, a, running) is not None
        again = town.settle("a")
        assert [job.id for job in await asyncio.to_thread(again.recover)] == [waiting.id]

    asyncio.run(act())


def test_jobs_from_before_servers_had_names_are_taken_by_the_first_that_starts(town: Town):
    async def act():
        old = town.kit.store()
        ran, waiting = await begin(old), await insert(old)
        found = await asyncio.to_thread(town.settle("a").recover)
        assert {job.id for job in found} == {ran.id, waiting.id}
        assert await asyncio.to_thread(town.settle("b").recover) == []

    asyncio.run(act())


def test_what_needs_no_file_of_a_dead_server_is_done_by_another(town: Town):
    async def act():
        a, b = town.settle("a"), town.settle("b")
        ran, waiting = await begin(a), await insert(a)
        stay = [await insert(a, blobs={"image": b"x"}), await insert(a, group="batch_1")]
        await town.look("a", "b")
        await town.die("b")
        assert town.runners["b"].put_in == [ran.id, waiting.id]
        taken = await b.get(ran.id)
        assert (taken.state, taken.lost, taken.owner) == ("queued", 1, "b")
        assert [(await b.get(job.id)).owner for job in stay] == ["a", "a"]
        assert (b.queued(), await b.claim(waiting.id) is None) == (2, False)
        # It lives after all: what it made counts no more, and it begins none of them.
        late = await finish(town.kit, a, ran, b"late")
        assert late is None
        assert lying(town.kit, ran) == []
        assert await a.claim(ran.id) is None
        assert await a.claim(stay[0].id) is not None
        # Nor do they take its room any more.
        await town.look("a")
        assert a.queued() == 1

    asyncio.run(act())


def test_two_that_notice_a_death_share_no_job(town: Town):
    async def act():
        a = town.settle("a")
        jobs = [await insert(a) for _ in range(5)]
        for name in ("b", "c"):
            town.settle(name)
        await town.look("a", "b", "c")
        await town.die("b", "c")
        taken = town.runners["b"].put_in + town.runners["c"].put_in
        assert taken == [job.id for job in jobs]

    asyncio.run(act())


@pytest.mark.parametrize(("lost_s", "lives"), [(LOST_S, True), (0.0, False)])
def test_nothing_is_taken_from_one_that_lives_or_at_all(town: Town, lost_s: float, lives: bool):
    async def act():
        await insert(town.settle("a"))
        town.settle("b", lost_s)
        await town.look("a")
        for _ in range(20):
            await town.look(*(["a", "b"] if lives else ["b"]))
            town.clock.now += LOST_S / 2
        assert town.runners["b"].put_in == []

    asyncio.run(act())


def test_one_that_shows_itself_in_the_last_moment_keeps_its_jobs(town: Town):
    async def act():
        await insert(town.settle("a"))
        b = town.settle("b")
        await town.look("a")
        seen = 1
        await town.look("a")
        assert await b.take_over("a", seen) == []
        assert len(await b.take_over("a", seen + 1)) == 1

    asyncio.run(act())


def test_a_job_whose_last_attempt_is_lost_with_its_server_has_failed(town: Town):
    async def act():
        a, b = town.settle("a"), town.settle("b")
        job = await insert(a)
        for _ in range(2):
            await a.release(await a.claim(job.id), counted=True)
        await a.claim(job.id)
        await town.look("a")
        await town.die("b")
        assert town.runners["b"].put_in == []
        assert (await b.get(job.id)).error["code"] == "worker_lost"

    asyncio.run(act())


def test_what_another_server_has_cancelled_or_deleted_is_stopped(town: Town):
    async def act():
        a, b = town.settle("a"), town.settle("b")
        cancelled, deleted, ended, goes_on = [await begin(a) for _ in range(4)]
        fresh = await insert(a)
        town.runners["a"].at_work = [job.id for job in (cancelled, deleted, ended, goes_on, fresh)]
        await b.cancel(cancelled.id)
        await b.delete(deleted.id)
        await finish(town.kit, a, ended)
        await town.look("a")
        await asyncio.sleep(0)
        assert town.runners["a"].stopped == [cancelled.id, deleted.id]
        assert town.neighbours["a"]._updates.looks == 1

    asyncio.run(act())


def test_work_that_is_slow_to_stop_does_not_make_its_server_look_dead(town: Town):
    async def act():
        a, b = town.settle("a"), town.settle("b")
        job, waiting = await begin(a), await insert(a)
        town.runners["a"].at_work, town.runners["a"].may_stop = [job.id], asyncio.Event()
        await b.cancel(job.id)
        async with asyncio.timeout(10):
            for _ in range(5):
                await town.look("a", "b")
                town.clock.now += LOST_S / 2
        assert (await b.get(waiting.id)).owner == "a"
        # And it is not stopped a second time.
        assert town.runners["a"].stopped == [job.id]
        await town.neighbours["a"].close()

    asyncio.run(act())


def test_nobody_is_taken_for_dead_because_nobody_could_look(town: Town):
    async def act():
        await insert(town.settle("a"))
        town.settle("b")
        await town.look("a", "b")
        # The database was away, for both.
        town.clock.now += 10 * LOST_S
        await town.look("b")
        assert town.runners["b"].put_in == []
        await town.die("b")
        assert len(town.runners["b"].put_in) == 1

    asyncio.run(act())


def test_each_counts_its_own_jobs(town: Town):
    async def act():
        a, b = town.settle("a", max_queued=2), town.settle("b", max_queued=2)
        jobs = [await insert(a) for _ in range(2)]
        mine = await insert(b)
        for job in jobs:
            await b.cancel(job.id)
            await b.delete(job.id)
        assert (b.queued(), b.used_bytes()) == (1, mine.size_bytes)
        with pytest.raises(QueueFull):
            await insert(a)
        # What others deleted is seen when it is counted anew.
        await a.measure()
        assert (a.queued(), a.used_bytes()) == (0, 0)

    asyncio.run(act())


def test_jobs_past_their_time_are_deleted_by_their_server_and_a_day_later_by_any(town: Town):
    async def act():
        a, b = town.settle("a"), town.settle("b")
        done = await finish(town.kit, a, await begin(a), b"result")

        def end_now(connection):
            values = {"expires_at": town.kit.clock.now}
            connection.execute(update(JOBS).where(JOBS.c.id == done.id).values(values))

        await town.kit.database.write(end_now)
        town.kit.clock.now += 10
        assert await b.expire() == 0
        town.kit.clock.now += DAY_S
        assert await b.expire() == 1
        assert await a.expire() == 0

    asyncio.run(act())


@pytest.mark.parametrize(("seconds", "fits"), [(0, True), (2, False), (8, True), (-1, False)])
def test_a_server_that_is_only_busy_must_not_be_taken_for_dead(seconds: float, fits: bool):
    if fits:
        assert Settings(_env_file=None, job_takeover=seconds).job_takeover == seconds
    else:
        with pytest.raises(ValidationError):
            Settings(_env_file=None, job_takeover=seconds)
