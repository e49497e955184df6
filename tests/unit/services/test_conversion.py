"""A pickle is converted when it is first used: once, in its turn, and never in a waiting caller."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from onebox.core.contracts import Entry
from onebox.core.errors import (
    AppError,
    DeadlineExceeded,
    ModelBroken,
    ModelBusy,
    ModelTooLarge,
    QueueFull,
    ShuttingDown,
    WorkerLost,
)
from onebox.registry.converted import ConvertedStore
from onebox.services.pickles import conversion as module
from onebox.services.pickles.conversion import Conversion
from tests.unit.registry.fakes import Bench, put, weights

PICKLE = b"\x80\x02]."


class FakeConverter:
    """Writes what `content` gives, once `gate` is open."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._stopped = threading.Event()

    def run(self, made: Path, tell: Callable[[float], None]) -> None:
        self._shop.runs += 1
        tell(0.5)
        self._shop.begun.set()
        while not self._shop.gate.wait(0.01):
            if self._stopped.is_set():
                raise ShuttingDown("stopped")
        if self._shop.error is not None:
            raise self._shop.error
        self._shop.on_run()
        made.write_bytes(weights())

    def stop(self) -> None:
        self._stopped.set()


class Shop:
    def __init__(self, folder: Path, store: ConvertedStore) -> None:
        self.bench = Bench(folder, Path(":memory:"), converted=store)
        self.store = store
        self.runs = 0
        self.gate, self.begun = threading.Event(), threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.on_run: Callable[[], None] = lambda: None
        self.conversion = Conversion(
            self.bench.registry, store, timeout_s=30, max_waiting=3,
            make_converter=lambda on_disk: FakeConverter(self),  # type: ignore[arg-type]
        )  # fmt: skip

    def entry(self, name: str = "a") -> Entry:
        return self.bench.entries()[name]

    async def use(self, name: str = "a", timeout_s: float | None = None) -> Entry:
        return await self.conversion.converted(self.entry(name), timeout_s)


@pytest.fixture
def shop(folder: Path, tmp_path: Path) -> Shop:
    put(folder / "a.ckpt", PICKLE)
    put(folder / "b.ckpt", PICKLE + b"b")
    shop = Shop(folder, ConvertedStore(tmp_path / "converted"))
    shop.bench.scan()
    return shop


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


async def when(event: threading.Event) -> None:
    await asyncio.to_thread(event.wait, 10)


def test_what_is_no_pickle_is_given_back_as_it_is(shop: Shop, folder: Path) -> None:
    put(folder / "c.safetensors", weights())
    entry = shop.bench.settle()["c"]
    assert run(shop.conversion.converted(entry)) is entry
    assert shop.runs == 0


def test_a_pickle_has_its_tasks_after_its_first_use_hashed_or_not(shop: Shop) -> None:
    assert shop.entry().sha256 is None
    entry = run(shop.use())
    assert (entry.name, entry.tasks) == ("a", ("text-to-image",))
    assert shop.entry() == entry


def test_however_many_ask_it_is_converted_once(shop: Shop) -> None:
    async def work() -> list[Entry]:
        return await asyncio.gather(*(shop.use() for _ in range(3)))

    entries = run(work())
    assert [entry.tasks for entry in entries] == [("text-to-image",)] * 3
    assert shop.runs == 1


def test_one_is_converted_after_the_other(shop: Shop) -> None:
    async def work() -> None:
        shop.gate.clear()
        both = [asyncio.create_task(shop.use(name)) for name in "ab"]
        await when(shop.begun)
        assert shop.runs == 1
        shop.gate.set()
        await asyncio.gather(*both)

    run(work())
    assert shop.runs == 2


def test_a_caller_that_leaves_does_not_end_it(shop: Shop) -> None:
    async def work() -> Entry:
        shop.gate.clear()
        leaving = asyncio.create_task(shop.use())
        await when(shop.begun)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        waiting = asyncio.create_task(shop.use())
        shop.gate.set()
        return await waiting

    assert run(work()).tasks
    assert shop.runs == 1


def test_who_has_no_more_time_is_told_that_it_goes_on(shop: Shop) -> None:
    async def work() -> Entry:
        shop.gate.clear()
        with pytest.raises(DeadlineExceeded, match="still being converted"):
            await shop.use(timeout_s=0.01)
        shop.gate.set()
        return await shop.use()

    assert run(work()).tasks
    assert shop.runs == 1


def test_how_far_it_is_can_be_followed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEP_S", 0.001)

    async def work() -> list[float | Entry]:
        shop.gate.clear()
        found: list[float | Entry] = []
        async for step in shop.conversion.steps(shop.entry()):
            found.append(step)
            if step == 0.5:
                shop.gate.set()
        return found

    *fractions, entry = run(work())
    assert set(fractions) <= {0.0, 0.5}
    assert 0.5 in fractions
    assert entry == shop.entry()
    assert entry.tasks


def test_only_so_many_may_wait(shop: Shop) -> None:
    async def work() -> None:
        shop.gate.clear()
        waiting = [asyncio.create_task(shop.use()) for _ in range(3)]
        await when(shop.begun)
        with pytest.raises(QueueFull):
            await shop.use("b")
        shop.gate.set()
        await asyncio.gather(*waiting)

    run(work())


def test_one_that_cannot_be_converted_is_broken_from_then_on(shop: Shop) -> None:
    shop.error = ModelBroken("it asks for os.system")
    with pytest.raises(ModelBroken, match="a cannot be used: it asks"):
        run(shop.use())
    entry = shop.entry()
    assert (entry.status, entry.reason) == ("broken", "it asks for os.system")
    assert not entry.unconverted


@pytest.mark.parametrize(
    "error", [WorkerLost("killed", retry_after_s=1), ModelTooLarge("the disk is full")]
)
def test_what_is_not_its_fault_can_be_tried_again(shop: Shop, error: AppError) -> None:
    shop.error = error
    with pytest.raises(type(error)):
        run(shop.use())
    shop.error = None
    assert run(shop.use()).tasks


def test_a_disk_fault_is_no_internal_error(shop: Shop) -> None:
    shop.error = OSError(5, "Input/output error")
    with pytest.raises(WorkerLost, match="Input/output error"):
        run(shop.use())


def test_a_file_that_changes_meanwhile_is_not_taken_for_the_old_one(
    shop: Shop, folder: Path
) -> None:
    old = run(asyncio.to_thread(shop.bench.registry.identify, shop.entry()))
    shop.on_run = lambda: put(folder / "a.ckpt", PICKLE + b"new", age_s=50) and None
    with pytest.raises(ModelBusy):
        run(shop.use())
    assert shop.store.find(old.sha256 or "", is_folder=False) is None


def test_nothing_unfinished_stays(shop: Shop, tmp_path: Path) -> None:
    shop.error = ModelBroken("no")
    with pytest.raises(ModelBroken):
        run(shop.use())
    assert list((tmp_path / "converted").iterdir()) == []


def test_closing_ends_what_runs_and_what_waits(shop: Shop) -> None:
    async def work() -> list[Any]:
        shop.gate.clear()
        both = [asyncio.create_task(shop.use(name)) for name in "ab"]
        await when(shop.begun)
        await shop.conversion.close()
        return await asyncio.gather(*both, return_exceptions=True)

    assert [type(error) for error in run(work())] == [ShuttingDown, ShuttingDown]
