"""The checkpoint a request means: from memory where it may be, from the disk where it must."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import msgspec
import pytest

from onebox.core.contracts import Entry
from onebox.core.errors import ModelBusy, ModelNotFound
from onebox.services.catalogue import FRESH_S, Catalogue


def entry(name: str) -> Entry:
    return Entry(f"key-{name}", name, f"/m/{name}", "", 1, "ready", tasks=("chat",))


class FakeRegistry:
    """Knows some names. `on_look` sees each look at the disk, and says what lies there."""

    def __init__(self, *names: str) -> None:
        self.entries = {name: entry(name) for name in names}
        self.looks: list[str] = []
        self.threads: list[threading.Thread] = []
        self.asked: list[tuple[str, str | None]] = []
        self.on_look: Callable[[Entry], Entry] = lambda found: found

    def default_for(self, task_name: str) -> Entry:
        return self.entries[f"default-{task_name}"]

    def resolve(self, name: str, *, task: str | None = None) -> Entry:
        self.asked.append((name, task))
        if name not in self.entries:
            raise ModelNotFound(f"no model {name}")
        return self.entries[name]

    def ensure_fresh(self, found: Entry) -> Entry:
        self.threads.append(threading.current_thread())
        self.looks.append(found.name)
        return self.on_look(found)


class Shelf:
    """A catalogue with a clock that only the test moves; `loaded` are the keys in memory."""

    def __init__(self) -> None:
        self.now = 100.0
        self.loaded: set[str] = set()
        self.conversions: list[tuple[str, float | None]] = []
        self.registry = FakeRegistry("a", "b", "default-chat")
        self.catalogue = Catalogue(
            self.registry, self.loaded.__contains__, self.convert, lambda: self.now
        )

    async def convert(self, found: Entry, timeout_s: float | None) -> Entry:
        self.conversions.append((found.name, timeout_s))
        return msgspec.structs.replace(found, kind="converted")

    def find(self, model: str | None) -> Entry:
        return asyncio.run(self.catalogue.find("chat", model))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_a_model_is_found_by_its_name_among_those_of_the_task(shelf):
    assert shelf.find("a").name == "a"
    assert shelf.registry.asked == [("a", "chat")]


def test_without_a_name_it_is_the_tasks_default(shelf):
    assert shelf.find(None).name == "default-chat"


def test_a_model_can_be_named_without_a_task(shelf):
    assert asyncio.run(shelf.catalogue.named("b")).name == "b"
    assert shelf.registry.asked == [("b", None)]


def test_an_unknown_one_is_not_found_and_nothing_is_read(shelf):
    with pytest.raises(ModelNotFound):
        shelf.find("nope")
    assert shelf.registry.looks == []


def test_the_disk_is_not_read_on_the_loop(shelf):
    shelf.find("a")
    assert threading.main_thread() not in shelf.registry.threads


def test_a_loaded_one_is_looked_at_now_and_then(shelf):
    shelf.loaded.add("key-a")
    for _ in range(5):
        shelf.find("a")
        shelf.now += FRESH_S / 4
    assert shelf.registry.looks == ["a", "a"]


def test_one_that_is_not_loaded_is_looked_at_each_time(shelf):
    for _ in range(3):
        shelf.find("a")
    assert shelf.registry.looks == ["a"] * 3


def test_each_one_is_looked_at_for_itself(shelf):
    shelf.loaded |= {"key-a", "key-b"}
    for name in "abab":
        shelf.find(name)
    assert shelf.registry.looks == ["a", "b"]


def test_what_changed_on_disk_is_what_is_found(shelf):
    shelf.registry.on_look = lambda found: msgspec.structs.replace(found, key="new", size_bytes=2)
    assert (shelf.find("a").key, shelf.find("a").size_bytes) == ("new", 2)


def test_a_pickle_is_converted_before_it_is_found(shelf):
    assert shelf.find("a").kind == "converted"
    assert asyncio.run(shelf.catalogue.named("b")).kind == "converted"
    assert shelf.conversions == [("a", None), ("b", None)]


def test_a_conversion_is_waited_for_no_longer_than_the_request_may_take(shelf):
    asyncio.run(shelf.catalogue.find("chat", None, timeout_s=3.0))
    assert shelf.conversions == [("default-chat", 3.0)]


def test_a_look_that_fails_is_no_look(shelf):
    def is_written(found):
        raise ModelBusy("it is being written")

    shelf.loaded.add("key-a")
    shelf.registry.on_look = is_written
    for _ in range(2):
        with pytest.raises(ModelBusy):
            shelf.find("a")
    assert shelf.registry.looks == ["a", "a"]


def test_one_of_another_server_is_not_looked_for_on_the_disk(shelf):
    shelf.registry.entries["far"] = msgspec.structs.replace(entry("far"), upstream="box")
    assert shelf.find("far").upstream == "box"
    assert shelf.registry.looks == []
