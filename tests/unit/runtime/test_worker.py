"""Frames in, frames out: every request is answered once, whatever comes in between."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onebox.core.decoding import EncodedTask
from onebox.core.media import Spool
from onebox.core.plugins import FAMILIES, TASKS
from onebox.runtime.wire import (
    Cancel,
    Failed,
    FromWorker,
    GaveUp,
    GiveUp,
    Grant,
    Heartbeat,
    Load,
    Loading,
    Result,
    Start,
    Started,
    Stats,
    Unload,
)
from onebox.runtime.worker.worker import Worker
from tests.unit.runtime.clients import CPU, entry
from tests.unit.runtime.desk import TextInput, TextTask, load, submit

BOUND_S = 60
PLENTY = 10**9
START = Start(0, ("cpu",), None, None, 0.0, 5.0, PLENTY, 0.0, 8, 0, "spool")


class Panic(BaseException):
    """What libraries in Rust raise when they panic is no Exception."""


class Panicking(EncodedTask[Any]):
    name = "text"
    summary = "Panic"
    Input = TextInput

    def encode(self, request: Any, entry: Any, read: Any) -> Any:
        raise Panic("secret")

    def open(self, bundle: Any, request: Any, prompt: Any, context: Any) -> Any:
        raise AssertionError("it has no prompt")


class FakeFamily:
    def __init__(self, engine: str = "exclusive") -> None:
        self.engine = engine

    def load(self, entry: Any, device: Any) -> Any:
        return SimpleNamespace(size_bytes=40, close=lambda: None)


class Office:
    """A worker whose runs end when the test lets them; `frames` are those that nobody read yet.

    `on_frame` is called with each frame when it is told, `free_bytes` when the memory is asked for.
    """

    def __init__(self, folder: Path, task: TextTask) -> None:
        self.frames: queue.Queue[FromWorker] = queue.Queue()
        self.ended: list[str] = []
        self.may_run = threading.Event()
        self.on_frame: Callable[[FromWorker], object] = lambda frame: None
        self.free_bytes = lambda: 1
        self.worker = Worker(
            START, CPU, PLENTY, Spool(folder), self._emit, free_bytes=lambda: self.free_bytes()
        )
        task.on_run = self._run
        self.worker.handle(Grant(PLENTY, PLENTY))

    def _emit(self, frame: FromWorker) -> None:
        self.on_frame(frame)
        self.frames.put(frame)

    def _run(self, context: Any) -> None:
        self.may_run.wait(BOUND_S)
        context.step(1, 1)

    def until(self, kind: type, name: str) -> Any:
        """The next frame of that kind for a request; what comes before it is passed over."""
        while True:
            frame = self.frames.get(timeout=BOUND_S)
            if isinstance(frame, Result | Failed):
                assert frame.id not in self.ended, f"{frame.id} was answered twice"
                self.ended.append(frame.id)
            if isinstance(frame, kind) and getattr(frame, "id", name) == name:
                return frame

    def error_of(self, name: str) -> str:
        return str(self.until(Failed, name).code)

    def start(self, name: str, **given: Any) -> None:
        """A request that has the device."""
        self.worker.handle(submit(name, **given))
        self.until(Started, name)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> TextTask:
    task = TextTask()
    monkeypatch.setitem(TASKS._items, "text", task)
    monkeypatch.setitem(FAMILIES._items, "fake", FakeFamily())
    return task


@pytest.fixture
def office(tmp_path: Path, task: TextTask) -> Iterator[Office]:
    office = Office(tmp_path, task)
    yield office
    office.may_run.set()
    office.worker.close(BOUND_S)


def test_a_request_is_loaded_for_started_and_answered(office):
    office.may_run.set()
    office.worker.handle(submit("1", text="hi"))
    assert office.until(Loading, "1").fraction == 0
    office.until(Started, "1")
    assert office.until(Result, "1").artifacts[0].data == b'"hi"'


def test_a_load_ends_with_the_bundle_in_memory(office):
    office.worker.handle(load("1"))
    office.until(Result, "1")
    office.worker.handle(Stats("2"))
    (bundle,) = office.until(Result, "2").stats.bundles
    assert (bundle.key, bundle.state, bundle.size_bytes) == ("a", "ready", 40)


def test_an_id_that_is_taken_is_refused_and_the_first_goes_on(office):
    office.start("1")
    office.worker.handle(submit("1"))
    refused = office.frames.get(timeout=BOUND_S)
    assert refused.code == "request_id_taken"
    office.may_run.set()
    assert isinstance(office.until(Result, "1"), Result)


def test_a_bug_in_a_check_fails_that_request_and_tells_nothing_of_it(office, task):
    def check(request, entry):
        raise ZeroDivisionError("secret")

    task.check = check
    office.worker.handle(submit("1"))
    failed = office.until(Failed, "1")
    assert failed.code == "inference_failed"
    assert "secret" not in failed.message


def test_a_panic_of_what_makes_prompts_fails_that_request_alone(office, monkeypatch):
    monkeypatch.setitem(TASKS._items, "text", Panicking())
    for name in ("1", "2", "3"):
        office.worker.handle(submit(name))
        failed = office.until(Failed, name)
        assert failed.code == "inference_failed"
        assert "secret" not in failed.message


def test_a_family_of_an_unknown_engine_fails_its_requests_and_no_more(office, monkeypatch):
    monkeypatch.setitem(FAMILIES._items, "odd", FakeFamily("unknown"))
    office.worker.handle(Load("1", entry("b", family="odd"), "key:1", 9.0, 40))
    assert "names no engine: unknown" in office.until(Failed, "1").message
    assert office.worker.stats().running == 0
    office.may_run.set()
    office.worker.handle(submit("2"))
    office.until(Result, "2")


def test_what_waits_is_cancelled_at_once_and_what_runs_at_its_next_step(office):
    office.start("1")
    office.worker.handle(submit("2"))
    office.worker.handle(Cancel("2"))
    office.worker.handle(Cancel("1"))
    assert office.error_of("2") == "cancelled"
    office.may_run.set()
    assert office.error_of("1") == "cancelled"


def test_what_was_cancelled_does_not_wait_any_more_when_it_is_told(office):
    office.start("1")
    office.worker.handle(submit("2"))
    waiting = []
    office.on_frame = lambda frame: waiting.append(office.worker.stats().waiting)
    office.worker.handle(Cancel("2"))
    assert office.error_of("2") == "cancelled"
    assert waiting == [0]


def test_what_a_worker_tells_of_itself_is_never_older_than_what_it_told_before(office):
    begun, told = threading.Event(), threading.Event()
    office.on_frame = lambda frame: told.set()

    def free_bytes():
        if not begun.is_set():
            begun.set()
            told.wait(0.1)  # for one that would overtake it
        return 1

    office.free_bytes = free_bytes
    beat = threading.Thread(target=office.worker.tell)
    beat.start()
    assert begun.wait(BOUND_S)
    office.worker.handle(Stats("s"))
    beat.join(BOUND_S)
    assert [type(office.frames.get(timeout=BOUND_S)) for _ in range(2)] == [Heartbeat, Result]


def test_a_cancel_for_nobody_is_no_trouble(office):
    office.worker.handle(Cancel("1"))


def test_an_unload_by_force_ends_what_waits_and_what_runs(office):
    office.start("1")
    for name in "23":
        office.worker.handle(submit(name))
    office.worker.handle(Unload("u", "a", BOUND_S, force=True))
    assert [office.error_of(name) for name in "123"] == ["model_unloaded"] * 3
    assert (office.worker.stats().waiting, office.worker.stats().running) == (0, 0)
    office.may_run.set()
    office.until(Result, "u")
    assert office.worker.stats().bundles == ()


def test_an_unload_without_force_leaves_what_is_in_use(office):
    office.start("1")
    office.worker.handle(Unload("u", "a", 0))
    assert office.error_of("u") == "model_busy"
    office.may_run.set()
    office.until(Result, "1")


def test_another_worker_gets_what_this_one_does_not_hold(office):
    office.start("1", size=2)
    office.worker.handle(GiveUp(PLENTY, evict=True))
    assert office.until(GaveUp, "").share_bytes == 240


def test_a_worker_that_goes_down_answers_everybody(office):
    office.start("1")
    office.worker.handle(submit("2"))
    closing = threading.Thread(target=office.worker.close, args=[BOUND_S])
    closing.start()
    assert office.error_of("2") == "shutting_down"
    office.worker.handle(submit("3"))
    assert office.error_of("3") == "shutting_down"
    office.may_run.set()
    office.until(Result, "1")
    closing.join(BOUND_S)
    assert not closing.is_alive()


def test_what_does_not_end_within_the_grace_time_is_answered_all_the_same(office):
    office.start("1")
    closing = threading.Thread(target=office.worker.close, args=[0])
    closing.start()
    assert office.error_of("1") == "shutting_down"
    office.may_run.set()
    closing.join(BOUND_S)
    assert not closing.is_alive()
