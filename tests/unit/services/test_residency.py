"""Loading a model and taking it out, by request."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onebox.core.contracts import Device, Entry
from onebox.core.errors import ModelBroken, ModelBusy, ModelTooLarge, TaskNotSupported, WorkerLost
from onebox.core.results import Timing
from onebox.runtime.wire import (
    Cancel,
    Event,
    Failed,
    Heartbeat,
    Load,
    Loading,
    Result,
    Stats,
    ToWorker,
    Unload,
    WorkerStats,
)
from onebox.services.residency import FORCED_WAIT_S, UNLOAD_WAIT_S, Loaded, Residency
from onebox.services.sizing import Weights
from tests.unit.runtime.clients import CPU, NotingClient, bundle, entry, run, stats


class FakeSizing:
    def __init__(self) -> None:
        self.remembered: list[tuple[str, str, int]] = []

    async def weights(self, entry: Entry, device: Device) -> Weights:
        return Weights(500, 480)

    def remember_weights(self, entry: Entry, device: Device, size_bytes: int) -> None:
        self.remembered.append((entry.key, device.id, size_bytes))


class AnsweringClient(NotingClient):
    """Answers each Load and Unload with `script`, where the id is filled in, and tells `holds`; and
    at once `then`, if there is one.
    """

    def __init__(self, folder: Path, index: int = 0) -> None:
        super().__init__(folder, index)
        self.script: list[Event] = [Result("")]
        self.holds: WorkerStats = stats()
        self.then: Heartbeat | None = None

    def _send(self, frame: ToWorker) -> None:
        super()._send(frame)
        if isinstance(frame, Stats):
            self._answer_soon(Result(frame.id, stats=self.holds))
            if self.then is not None:
                asyncio.get_running_loop().call_soon(self._dispatch, self.then)
        elif isinstance(frame, Load | Unload):
            for event in self.script:
                self._answer_soon(msgspec.structs.replace(event, id=frame.id))

    def _answer_soon(self, event: Event) -> None:
        asyncio.get_running_loop().call_soon(self.answer, event)

    def orders(self) -> list[ToWorker]:
        return [frame for frame in self.sent if not isinstance(frame, Stats)]


class FakePool:
    """Places everything on the first of its workers."""

    def __init__(self, *clients: NotingClient) -> None:
        self.clients = clients
        self.needed: list[int] = []

    async def place(self, key: str, needed_bytes: Any, timeout_s: float) -> NotingClient:
        self.needed.append(await needed_bytes(CPU))
        return self.clients[0]

    def ready(self) -> list[NotingClient]:
        return list(self.clients)


class House:
    def __init__(self, folder: Path) -> None:
        self.clients = [AnsweringClient(folder, index) for index in range(2)]
        self.client = self.clients[0]
        self.sizing = FakeSizing()
        self.pool = FakePool(*self.clients)
        self.residency = Residency(self.pool, self.sizing, timeout_s=100)

    async def load(self, model: Entry | None = None, **options: Any) -> list[Any]:
        model = model or entry()
        async with contextlib.aclosing(
            self.residency.load(model, caller="key:1", **options)
        ) as events:
            return [event async for event in events]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


class TestLoad:
    def test_its_progress_and_its_end_are_told(self, house):
        house.client.script = [
            Loading("", 0.5),
            Loading("", 1.0, 470),
            Result("", timing=Timing(load_s=3.0)),
        ]
        house.client.holds = stats(bundle("a", size_bytes=470))
        *progress, end = run(house.load())
        assert [event.fraction for event in progress] == [0.5, 1.0]
        assert end == Loaded(entry(), "cpu", 470, 3.0)
        assert house.pool.needed == [480]
        assert house.client.last_stats == house.client.holds
        assert house.client.pending == 0

    def test_what_the_worker_has_told_since_is_not_overwritten(self, house):
        newer = Heartbeat(stats(bundle("a"), bundle("b")))
        house.client.holds, house.client.then = stats(bundle("a")), newer
        run(house.load())
        assert house.client.last_stats == newer.stats

    def test_the_measured_size_is_remembered(self, house):
        house.client.script = [Loading("", 0.5), Loading("", 1.0, 470), Result("")]
        run(house.load())
        assert house.sizing.remembered == [("a", "cpu", 470)]

    @pytest.mark.parametrize(("asked", "given"), [(None, 100), (7, 7), (1000, 100)])
    def test_it_has_at_most_the_time_of_any_request(self, house, asked, given):
        run(house.load(timeout_s=asked))
        (frame,) = house.client.orders()
        assert (frame.timeout_s, frame.caller, frame.estimate_bytes) == (given, "key:1", 480)

    def test_a_worker_is_told_where_a_converted_one_lies(self, house):
        converted = entry(loaded_from="/data/converted/a.safetensors")
        (end,) = run(house.load(converted))
        (frame,) = house.client.orders()
        assert (frame.entry.path, frame.entry.key) == ("/data/converted/a.safetensors", "a")
        assert end.entry.path == "/m/a"

    def test_a_load_that_fails_raises(self, house):
        house.client.script = [Loading("", 0.5), Failed("", "model_too_large", "needs 9")]
        with pytest.raises(ModelTooLarge, match="needs 9"):
            run(house.load())
        assert house.client.pending == 0

    def test_one_that_nobody_waits_for_is_cancelled(self, house):
        async def scene():
            house.client.script = [Loading("", 0.5)]
            async with contextlib.aclosing(house.residency.load(entry(), caller="key:1")) as events:
                await anext(events)

        run(scene())
        (order, cancel) = house.client.orders()
        assert cancel == Cancel(order.id)
        assert house.client.pending == 0

    @pytest.mark.parametrize(
        ("model", "error"),
        [
            (entry(family=None), TaskNotSupported),
            (Entry("a", "m", "/m", "", 1, "broken", reason="no config"), ModelBroken),
        ],
    )
    def test_what_cannot_be_loaded_reaches_no_worker(self, house, model, error):
        with pytest.raises(error):
            run(house.load(model))
        assert house.client.sent == []


class TestUnload:
    def test_it_is_taken_out_of_every_worker(self, house):
        house.clients[1].holds = stats(bundle("a"))
        assert run(house.residency.unload(entry(), force=False))
        for client in house.clients:
            (frame,) = client.orders()
            assert (frame.key, frame.wait_s, frame.force) == ("a", UNLOAD_WAIT_S, False)
            assert client.pending == 0

    def test_it_is_told_when_it_was_in_none(self, house):
        house.clients[1].holds = stats(bundle("b"))
        assert not run(house.residency.unload(entry(), force=False))

    def test_with_force_its_requests_have_longer_to_stop(self, house):
        run(house.residency.unload(entry(), force=True))
        (frame,) = house.client.orders()
        assert (frame.wait_s, frame.force) == (FORCED_WAIT_S, True)

    def test_one_in_use_is_told_to_be_busy(self, house):
        house.clients[1].script = [Failed("", "model_busy", "in use by 2 request(s)")]
        with pytest.raises(ModelBusy, match="2 request"):
            run(house.residency.unload(entry(), force=False))

    def test_the_picture_of_the_worker_is_new_afterwards(self, house):
        house.client.last_stats = stats(bundle("a"))
        run(house.residency.unload(entry(), force=False))
        assert house.client.last_stats == stats()

    def test_a_worker_that_is_lost_meanwhile_is_told(self, house):
        house.client.lost = WorkerLost("gone")
        with pytest.raises(WorkerLost):
            run(house.residency.unload(entry(), force=False))

    def test_without_workers_nothing_is_loaded(self, house):
        house.pool.clients = ()
        assert not run(house.residency.unload(entry(), force=False))
