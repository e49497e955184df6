"""What those who watch a job are told, and from where they go on when they come back."""

from __future__ import annotations

import asyncio

import pytest

from onebox.runtime.wire import Progress, Started
from onebox.services.jobs.events import Update, Updates
from onebox.services.jobs.live import Live
from onebox.services.running import RunningRequest
from tests.unit.runtime.clients import run
from tests.unit.services.workshop import FakeStore, until

EVERY = ["1-0 queued", "2-0 started", "3-0 completed"]


class Scene:
    """One job, `a`, that is watched."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.store.add("a")
        self.live: Live | None = None
        self.told = 0
        self.updates = Updates(self.store, lambda _: self.live, self._tell)
        self.request = RunningRequest("1", "a", "key:1", "fake", "a", "a", "job", 0.0)

    def watch(self, after: str | None = None) -> tuple[list[str], asyncio.Task[None]]:
        """What is heard, as `id type`, and who listens."""
        heard: list[str] = []

        async def listen() -> None:
            async for update in self.updates.of("a", after):
                heard.append(_text(update))

        return heard, asyncio.ensure_future(listen())

    async def begin(self) -> None:
        await self.store.claim("a")
        self.live = Live(lambda: self.updates.got_on("a"))
        self.live.follow(self.request)
        self.updates.state_changed("a")

    def step(self, step: int) -> None:
        self.request.observe(Progress("1", step, 4))

    async def end(self) -> None:
        await self.store.complete(self.store.jobs["a"], [])
        self.live = None
        self.updates.state_changed("a")

    def _tell(self) -> None:
        self.told += 1


def _text(update: Update) -> str:
    step = f" {update.live.step}" if update.live is not None else ""
    return f"{update.id} {update.type}{step}"


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_every_change_and_the_progress_between_in_their_order(scene: Scene):
    async def act() -> list[str]:
        heard, listener = scene.watch()
        await scene.begin()
        scene.step(1)
        await until(lambda: len(heard) == 3)
        scene.step(2)
        await until(lambda: len(heard) == 4)
        await scene.end()
        await listener
        return heard

    assert run(act()) == [
        "1-0 queued",
        "2-0 started",
        "2-1 progress 1",
        "2-2 progress 2",
        "3-0 completed",
    ]
    assert scene.told == 2


def test_what_another_server_has_changed_is_told_when_it_is_looked_for(scene: Scene):
    async def act() -> list[str]:
        heard, listener = scene.watch()
        await until(lambda: len(heard) == 1)
        await scene.store.claim("a")
        scene.updates.look_again()
        await until(lambda: len(heard) == 2)
        # No news is none.
        scene.updates.look_again()
        await scene.store.complete(scene.store.jobs["a"], [])
        scene.updates.look_again()
        await listener
        return heard

    assert run(act()) == EVERY


def test_who_reads_slowly_gets_the_newest_progress(scene: Scene):
    async def act() -> list[str]:
        await scene.begin()
        scene.request.observe(Started("1"))
        for step in (1, 2, 3):
            scene.step(step)
        heard, listener = scene.watch()
        await until(lambda: len(heard) == 3)
        await scene.end()
        await listener
        return heard

    assert run(act())[2:] == ["2-1 progress 3", "3-0 completed"]


@pytest.mark.parametrize(
    ("after", "first"),
    [
        (None, "1-0 queued"),
        ("1-0", "2-0 started"),
        ("2-0", "2-1 progress 1"),
        ("2-7", "2-8 progress 1"),
        ("nonsense", "1-0 queued"),
        # Of another job.
        ("9-0", "1-0 queued"),
    ],
)
def test_who_comes_back_is_told_what_has_changed_since(scene: Scene, after, first):
    async def act() -> str:
        await scene.begin()
        scene.step(1)
        updates = scene.updates.of("a", after)
        update = await anext(updates)
        await updates.aclose()
        return _text(update)

    assert run(act()) == first


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ("1-0", ["2-0 started", "3-0 completed"]),
        ("2-5", ["3-0 completed"]),
        ("3-0", []),
        ("4-0", EVERY),
    ],
)
def test_of_one_that_has_ended_there_is_an_end(scene: Scene, after, told):
    async def act() -> list[str]:
        await scene.begin()
        await scene.end()
        heard, listener = scene.watch(after)
        await listener
        return heard

    assert run(act()) == told


def test_of_one_that_is_deleted_there_is_nothing_more(scene: Scene):
    async def act() -> list[str]:
        heard, listener = scene.watch()
        await until(lambda: bool(heard))
        await scene.store.delete("a")
        scene.updates.state_changed("a")
        await listener
        return heard

    assert run(act()) == ["1-0 queued"]


def test_when_the_server_stops_who_watches_is_sent_away(scene: Scene):
    async def act() -> list[str]:
        heard, listener = scene.watch()
        await until(lambda: bool(heard))
        scene.updates.close()
        await listener
        late, listener = scene.watch()
        await listener
        return late

    assert run(act()) == ["1-0 queued"]


def test_who_leaves_is_forgotten(scene: Scene):
    async def act() -> None:
        updates = scene.updates.of("a")
        await anext(updates)
        await updates.aclose()

    run(act())
    assert not scene.updates._watchers
