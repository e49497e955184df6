from __future__ import annotations

import asyncio

import msgspec
import pytest

from onebox.core.contracts import Device
from onebox.core.errors import WorkerLost, WorkerUnready
from onebox.runtime.wire import Load
from tests.unit.runtime.clients import BUDGET, CPU, bundle, entry, run, run_jumping, submit
from tests.unit.runtime.fleet import REPLICATE_AT, Fleet


@pytest.fixture
def fleet(tmp_path):
    return lambda *states, **options: Fleet(tmp_path, *states, **options)


class TestPlace:
    def test_a_checkpoint_goes_where_it_is_loaded_even_if_that_worker_is_busy(self, fleet):
        async def scene():
            workers = fleet("ready", "ready")
            workers[1].has(bundle("a"))
            workers.keep_busy(1, 9)
            return await workers.place("a"), await workers.place("b")

        assert run(scene()) == (1, 0)

    @pytest.mark.parametrize("state", ["loading", "ready"])
    def test_what_is_being_loaded_counts_as_loaded_and_what_leaves_does_not(self, fleet, state):
        async def scene():
            workers = fleet("ready", "ready")
            workers[0].has(bundle("a", state="leaving", size_bytes=BUDGET, leases=1))
            assert await workers.place("a") == 1
            workers[0].has(bundle("a", state=state, size_bytes=BUDGET, leases=1))
            return await workers.place("a")

        assert run(scene()) == 0

    @pytest.mark.parametrize(
        "request_there", [submit("1", "a"), Load("1", entry("a"), "key:1", 9, 1)]
    )
    def test_so_does_what_a_request_on_its_way_will_load(self, fleet, request_there):
        async def scene():
            workers = fleet("ready", "ready")
            workers[1].submit(request_there)
            return await workers.place("a")

        assert run(scene()) == 1

    def test_with_many_requests_a_free_worker_gets_it_too(self, fleet):
        async def scene():
            workers = fleet("ready", "ready")
            workers[0].has(bundle("a"))
            workers.keep_busy(0, REPLICATE_AT - 1, "a")
            assert await workers.place("a") == 0
            workers.keep_busy(0, 1, "a")
            assert await workers.place("a") == 1
            return await workers.place("a", needed_bytes=BUDGET + 1)

        assert run(scene()) == 0

    def test_a_new_one_goes_where_the_least_must_be_evicted(self, fleet):
        async def scene():
            workers = fleet("ready", "ready", "ready")
            workers[0].has(bundle("x", size_bytes=80))
            workers[1].has(bundle("y", size_bytes=60, reserved_bytes=10, leases=1))
            workers[2].has(bundle("z", size_bytes=70))
            return [await workers.place("a", size) for size in (10, 30, 31, 40)]

        # Where there is room and least is held; with 31 bytes a lease would have to end there.
        assert run(scene()) == [1, 1, 2, 2]

    def test_what_is_pinned_is_not_counted_as_idle(self, fleet):
        async def scene():
            workers = fleet("ready", "ready")
            workers[0].has(bundle("x", size_bytes=50, pinned=True))
            workers[1].has(bundle("y", size_bytes=90))
            return await workers.place("a", 60)

        assert run(scene()) == 1

    def test_of_equals_the_least_busy_one_gets_it(self, fleet):
        async def scene():
            workers = fleet("ready", "ready", "ready")
            for index, requests in enumerate([3, 1, 2]):
                workers.keep_busy(index, requests)
            return await workers.place()

        assert run(scene()) == 1

    def test_a_worker_that_is_not_up_gets_nothing(self, fleet):
        async def scene():
            workers = fleet("failed", "ready", "starting", "ready")
            workers.keep_busy(1, 9)
            workers.keep_busy(3, 10)
            return await workers.place()

        assert run(scene()) == 1

    def test_nor_does_one_that_ends_while_sizes_are_read(self, fleet):
        async def scene():
            workers = fleet("ready", "ready")

            async def needed(device: Device) -> int:
                workers[0].end("starting")
                return 10

            return (await workers.pool.place("a", needed)).index

        assert run(scene()) == 1

    def test_when_the_last_ones_end_meanwhile_its_request_is_told(self, fleet):
        async def scene():
            workers = fleet("ready", "ready")

            async def needed(device: Device) -> int:
                for client in workers.pool.clients:
                    client.end("starting", WorkerLost("gone"))
                return 10

            with pytest.raises(WorkerLost):
                (await workers.pool.place("a", needed)).submit(submit("1"))

        run(scene())

    def test_a_single_worker_needs_no_sizes(self, fleet):
        async def scene():
            return (await fleet("ready", "failed").pool.place("a", None)).index

        assert run(scene()) == 0


class TestWaiting:
    @pytest.mark.parametrize("states", [(), ("failed",), ("failed", "stopped")])
    def test_without_a_worker_the_client_is_told_to_come_back(self, fleet, states):
        async def scene():
            with pytest.raises(WorkerUnready) as caught:
                await fleet(*states).place()
            return caught.value.retry_after_s

        assert run(scene()) == 5

    def test_a_starting_worker_is_waited_for(self, fleet):
        async def scene():
            workers = fleet("failed", "starting")
            placing = asyncio.ensure_future(workers.place())
            await asyncio.sleep(0)
            assert not placing.done()
            workers[1].come_up()
            return await placing

        assert run(scene()) == 1

    def test_one_that_fails_does_not_end_the_wait_for_the_others(self, fleet):
        async def scene():
            workers = fleet("starting", "starting")
            placing = asyncio.ensure_future(workers.place())
            await asyncio.sleep(0)
            workers[0].end("failed")
            for _ in range(10):
                await asyncio.sleep(0)
            assert not placing.done()
            workers[1].come_up()
            return await placing

        assert run(scene()) == 1

    def test_when_all_fail_the_reason_is_told(self, fleet):
        async def scene():
            workers = fleet("starting", "starting")
            placing = asyncio.ensure_future(workers.place())
            await asyncio.sleep(0)
            for client in workers.pool.clients:
                client.end("failed")
            with pytest.raises(WorkerUnready, match="it is failed"):
                await placing

        run(scene())

    def test_no_longer_than_the_request_has(self, fleet):
        async def scene():
            with pytest.raises(WorkerUnready, match="starting"):
                await fleet("starting").place(timeout_s=7)
            return asyncio.get_running_loop().time()

        assert run_jumping(scene()) == pytest.approx(7)


class TestLife:
    def test_the_first_worker_tells_how_many_there_must_be(self, fleet):
        async def scene():
            workers = fleet(chosen=3)
            pool = workers.pool
            await pool.start()
            await asyncio.sleep(200)
            assert [client.started for client in pool.clients] == [True]
            assert pool.devices() == []
            workers[0].come_up()
            await asyncio.sleep(200)
            assert [client.index for client in pool.clients] == [0, 1, 2]
            assert len(pool.devices()) == 3
            await pool.close(7)
            assert [client.closed_with for client in pool.clients] == [7, 7, 7]

        run_jumping(scene())

    def test_a_first_worker_that_fails_at_first_is_no_end(self, fleet):
        async def scene():
            workers = fleet(chosen=2)
            await workers.pool.start()
            workers[0].end("failed")
            await asyncio.sleep(30)
            assert len(workers.pool.clients) == 1
            workers[0].come_up()
            await asyncio.sleep(30)
            await workers.pool.close(0)
            return len(workers.pool.clients)

        assert run_jumping(scene()) == 2

    def test_a_pool_can_be_closed_while_it_starts(self, fleet):
        async def scene():
            workers = fleet(chosen=2)
            await workers.pool.start()
            await workers.pool.close(0)
            workers[0].come_up()
            await asyncio.sleep(30)
            return len(workers.pool.clients)

        assert run_jumping(scene()) == 1


class TestState:
    def test_the_pool_is_ready_when_any_worker_is_and_says_why_others_are_not(self, fleet):
        assert not fleet("failed").pool.ready()
        workers = fleet("failed", "ready")
        assert [client.index for client in workers.pool.ready()] == [1]
        assert workers.pool.reasons() == ["it is failed"]

    def test_it_tells_of_problems_of_the_devices(self, fleet):
        workers = fleet("ready")
        device = msgspec.structs.replace(CPU, problems=("the driver is too old",))
        workers[0].hello = msgspec.structs.replace(workers[0].hello, chosen=(device, device))
        assert workers.pool.reasons() == ["the driver is too old"]

    def test_what_is_loaded_is_known_from_any_worker(self, fleet):
        workers = fleet("starting", "ready")
        assert not workers.pool.has_loaded("a")
        workers[1].has(bundle("a"), bundle("b", state="loading"), bundle("c", state="leaving"))
        assert [workers.pool.has_loaded(key) for key in "abc"] == [True, False, False]

    def test_a_new_life_is_seen(self, fleet):
        workers = fleet("ready", "starting")
        assert workers.pool.lives() == (1, 0)
        workers[1].come_up()
        workers[0].come_up()
        assert workers.pool.lives() == (2, 1)
