"""Which checkpoint does a part of a request, and what is said where none can."""

from __future__ import annotations

import asyncio

import pytest

from onebox.core.contracts import Entry
from onebox.core.errors import InvalidInput, TaskNotSupported
from onebox.core.plugins import TASKS
from onebox.core.stages import Stage
from onebox.services.catalogue import Catalogue
from onebox.services.request import require_task
from tests.unit.services.kitchen import FakeInput, FakeTask


def model(name: str, *labels: str, status: str = "ready") -> Entry:
    facts = {"labels": list(labels)}
    return Entry(name, name, f"/m/{name}", "", 1, status, tasks=("fake",), facts=facts)  # type: ignore[arg-type]  # a status


class FakeRegistry:
    default: str | None = None

    def __init__(self, *known: Entry) -> None:
        self._known = {entry.name: entry for entry in known}

    def entries(self) -> list[Entry]:
        return list(self._known.values())

    def default_for(self, task: str) -> Entry:
        if self.default is not None:
            return self._known[self.default]
        if len(self._known) != 1:
            raise InvalidInput("name a model", details={"candidates": list(self._known)})
        return next(iter(self._known.values()))

    def resolve(self, name: str, *, task: str | None = None) -> Entry:
        return self._known[name]

    def ensure_fresh(self, entry: Entry) -> Entry:
        return entry


class Picky(FakeTask):
    needs = "a model that was made for it"


@pytest.fixture(autouse=True)
def picky(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS._items, "fake", Picky())


async def unchanged(entry: Entry, timeout_s: float | None) -> Entry:
    return entry


def catalogue(*known: Entry) -> Catalogue:
    return Catalogue(FakeRegistry(*known), lambda key: False, unchanged)  # type: ignore[arg-type]  # a fake


def chosen(stage: Stage, *known: Entry) -> str:
    return asyncio.run(catalogue(*known).for_stage(stage)).name


def knows_cats(entry: Entry) -> bool:
    return "cat" in entry.facts["labels"]


def test_a_part_is_done_by_the_tasks_default():
    assert chosen(Stage("fake", FakeInput()), model("one")) == "one"


def test_a_part_is_done_by_the_model_that_was_named():
    assert chosen(Stage("fake", FakeInput(), "two"), model("one"), model("two")) == "two"


def test_a_part_that_not_all_can_do_is_done_by_one_that_can():
    stage = Stage("fake", FakeInput(), fits=knows_cats)
    broken = model("broken", "cat", status="broken")
    assert chosen(stage, model("one"), broken, model("two", "dog", "cat")) == "two"


def test_of_several_without_a_default_a_preferred_one_does_a_part():
    stage = Stage("fake", FakeInput(), prefers=knows_cats)
    known = model("one"), model("broken", "cat", status="broken"), model("two", "cat")
    assert chosen(stage, *known) == "two"
    assert chosen(stage, model("one"), model("three")) == "one"


def test_the_default_does_a_part_whatever_else_is_preferred():
    registry = FakeRegistry(model("one", "cat"), model("two", "cat"))
    registry.default = "two"
    stages = Catalogue(registry, lambda key: False, unchanged)  # type: ignore[arg-type]  # a fake
    for wish in ({"prefers": knows_cats}, {"fits": knows_cats}):
        found = asyncio.run(stages.for_stage(Stage("fake", FakeInput(), **wish)))
        assert found.name == "two"


@pytest.mark.parametrize("known", [[], [model("one", "dog")]])
def test_where_none_can_the_part_says_what_to_do(known: list[Entry]):
    stage = Stage("fake", FakeInput(), fits=knows_cats, needs="send a mask of the cat")
    with pytest.raises(TaskNotSupported, match="mask of the cat"):
        chosen(stage, *known)


def test_where_no_model_does_a_task_it_says_which_would():
    with pytest.raises(TaskNotSupported, match="install a model that was made for it") as caught:
        asyncio.run(catalogue().find("fake", None))
    assert caught.value.details["candidates"] == []


def test_a_model_that_cannot_do_it_says_which_would():
    other = Entry("k", "other", "/m/other", "", 1, "ready", tasks=("chat",))
    with pytest.raises(TaskNotSupported, match="fake needs a model that was made for it"):
        require_task(other, "fake")
