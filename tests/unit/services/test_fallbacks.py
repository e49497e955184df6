"""Another model takes over when one is overloaded, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from onebox.core.contracts import Entry
from onebox.core.errors import (
    AppError,
    ConcurrencyLimited,
    InvalidInput,
    ModelNotAllowed,
    ModelNotFound,
    OutOfMemory,
    QueueFull,
    ShuttingDown,
    UpstreamFailed,
    WorkerUnready,
)
from onebox.core.results import Timing
from onebox.runtime.wire import Delta, Progress
from onebox.services import fallbacks
from onebox.services.fallbacks import Fallbacks, run_or_fall_back, stream_or_fall_back
from onebox.services.request import Options, Outcome, Prepared
from tests.unit.runtime.fakes import entry
from tests.unit.services.kitchen import FakeInput, FakeTask


def prepared_for(model: Entry) -> Prepared:
    return Prepared("wire", FakeTask(), model, FakeInput(), "key:1", Options("mine"), 1e9)


class Shelf:
    """A catalogue of models; runs what is asked for, or fails as a model of `failing` does."""

    def __init__(self, names: dict[str, str], *models: Entry, **failing: AppError) -> None:
        self.models = {model.name: model for model in models}
        self.failing = failing
        self.refused: dict[str, AppError] = {}
        self.ran: list[str] = []
        self.told: list[tuple[str, str, str]] = []
        self.early = Progress("wire", 1, 2)
        self.fallbacks = Fallbacks(names, self, lambda *what: self.told.append(what))

    async def find(self, task: str, name: str, *, allowed: Any = None) -> Entry:
        if allowed is not None and name not in allowed:
            raise ModelNotAllowed("not yours")
        if name not in self.models:
            raise ModelNotFound(f"no model {name}")
        return self.models[name]

    async def prepare(self, model: Entry) -> Prepared:
        if model.name in self.refused:
            raise self.refused[model.name]
        return prepared_for(model)

    def begin(self, name: str, allowed: Any = None) -> Prepared:
        prepared = prepared_for(self.models[name])
        prepared.another = self.fallbacks.plan("fake", prepared.entry, self.prepare, allowed)
        return prepared

    async def run(self, prepared: Prepared) -> Outcome:
        name = prepared.entry.name
        self.ran.append(name)
        if name in self.failing:
            raise self.failing[name]
        return Outcome(prepared, (), Timing())

    async def stream(self, prepared: Prepared) -> AsyncGenerator[Any, None]:
        yield self.early
        yield await self.run(prepared)

    def ask(self, name: str) -> Prepared:
        prepared = self.begin(name)
        asyncio.run(run_or_fall_back(prepared, self.run))
        return prepared


ONE, TWO, THREE = (entry(name, tasks=("fake",)) for name in ("one", "two", "three"))


@pytest.mark.parametrize(
    "error",
    [QueueFull("full"), WorkerUnready("not up"), OutOfMemory("none left"), UpstreamFailed("down")],
    ids=["queue", "worker", "memory", "upstream"],
)
def test_an_overloaded_model_is_replaced(error):
    shelf = Shelf({"one": "two"}, ONE, TWO, one=error)
    assert shelf.ask("one").entry is TWO
    assert shelf.ran == ["one", "two"]
    assert shelf.told == [("one", "two", error.code)]


@pytest.mark.parametrize(
    "error",
    [InvalidInput("wrong"), ConcurrencyLimited("too many of yours"), ShuttingDown("bye")],
    ids=["input", "caller", "shutdown"],
)
def test_any_other_error_is_the_answer(error):
    shelf = Shelf({"one": "two"}, ONE, TWO, one=error)
    with pytest.raises(type(error)):
        shelf.ask("one")
    assert shelf.ran == ["one"]


def test_without_a_fallback_the_error_is_the_answer():
    with pytest.raises(QueueFull):
        Shelf({}, ONE, TWO, one=QueueFull("full")).ask("one")


def test_a_checkpoint_may_name_its_own_and_the_setting_wins():
    own = msgspec.structs.replace(ONE, overrides={"fallback": "three"})
    failing = {"one": QueueFull("full")}
    assert Shelf({}, own, TWO, THREE, **failing).ask("one").entry is THREE
    assert Shelf({"one": "two"}, own, TWO, THREE, **failing).ask("one").entry is TWO


def test_one_that_is_overloaded_too_has_its_own():
    full = QueueFull("full")
    shelf = Shelf({"one": "two", "two": "three"}, ONE, TWO, THREE, one=full, two=full)
    assert shelf.ask("one").entry is THREE


def test_a_circle_ends_in_the_last_error():
    first = msgspec.structs.replace(ONE, overrides={"fallback": "two"})
    second = msgspec.structs.replace(TWO, overrides={"fallback": "one"})
    shelf = Shelf({}, first, second, one=QueueFull("full"), two=OutOfMemory("none left"))
    with pytest.raises(OutOfMemory):
        shelf.ask("one")
    assert shelf.ran == ["one", "two"]


@pytest.mark.parametrize("why", [ModelNotAllowed("not yours"), InvalidInput("not with this one")])
def test_one_that_may_not_be_used_leaves_the_first_error(why):
    shelf = Shelf({"one": "two"}, ONE, TWO, one=QueueFull("full"))
    shelf.refused["two"] = why
    with pytest.raises(QueueFull):
        shelf.ask("one")
    assert shelf.told == []


def test_one_that_is_not_there_leaves_the_first_error():
    with pytest.raises(QueueFull):
        Shelf({"one": "gone"}, ONE, one=QueueFull("full")).ask("one")


def test_the_request_stays_the_same_for_its_client():
    shelf = Shelf({"one": "two"}, ONE, TWO, one=QueueFull("full"))
    assert shelf.ask("one").id == "wire"


def streamed(shelf: Shelf) -> list[Any]:
    async def listen() -> list[Any]:
        events = stream_or_fall_back(shelf.begin("one"), shelf.stream)
        return [event async for event in events]

    return asyncio.run(listen())


def test_a_stream_goes_on_with_another_model_while_nothing_of_the_result_was_sent():
    shelf = Shelf({"one": "two"}, ONE, TWO, one=OutOfMemory("none left"))
    *_, outcome = streamed(shelf)
    assert outcome.prepared.entry is TWO


def test_after_the_first_piece_the_error_is_the_answer():
    shelf = Shelf({"one": "two"}, ONE, TWO, one=OutOfMemory("none left"))
    shelf.early = Delta("wire", {"content": "He"})
    with pytest.raises(OutOfMemory):
        streamed(shelf)
    assert shelf.ran == ["one"]


def test_the_answer_can_say_who_took_over():
    async def scene() -> tuple[str | None, str | None]:
        shelf = Shelf({"one": "two"}, ONE, TWO, one=QueueFull("full"))
        before = fallbacks.taken_over_by()
        await run_or_fall_back(shelf.begin("one"), shelf.run)
        return before, fallbacks.taken_over_by()

    assert asyncio.run(scene()) == (None, "two")


def test_the_models_that_a_key_may_use_are_all_that_take_over():
    shelf = Shelf({"one": "two"}, ONE, TWO, one=QueueFull("full"))
    with pytest.raises(QueueFull):
        asyncio.run(run_or_fall_back(shelf.begin("one", {"one"}), shelf.run))
    assert shelf.ran == ["one"]
