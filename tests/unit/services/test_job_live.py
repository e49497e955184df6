"""What is told of a running attempt: where it is, how much is done, how long it will take."""

from __future__ import annotations

import pytest

from onebox.runtime.wire import Delta, Loading, Progress, Started
from onebox.services.jobs.live import Live, Preview
from onebox.services.running import RunningRequest


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.changes = 0
        self.live = Live(self._changed, clock=lambda: self.now)
        self.request = self.begin()

    def begin(self) -> RunningRequest:
        request = RunningRequest("1", "job_1", "key:1", "fake", "a", "a", "job", 0.0)
        self.live.follow(request)
        return request

    def step(self, step: int, steps: int, after_s: float) -> None:
        self.now += after_s
        self.request.observe(Progress("1", step, steps))

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_before_any_request_nothing_is_known():
    live = Live()
    assert (live.phase, live.fraction, live.steps, live.eta_s) == ("placing", 0.0, 0, None)


def test_it_tells_of_loading_and_of_steps(scene: Scene):
    scene.request.observe(Loading("1", 0.5))
    assert (scene.live.phase, scene.live.loading) == ("loading", 0.5)
    scene.request.observe(Loading("1", 1.0))
    scene.request.observe(Started("1"))
    assert (scene.live.phase, scene.live.loading) == ("running", None)
    scene.step(3, 4, after_s=1)
    assert (scene.live.step, scene.live.steps, scene.live.fraction) == (3, 4, 0.75)
    assert (scene.changes, scene.live.version) == (4, 4)


def test_the_time_left_is_that_of_the_usual_step(scene: Scene):
    scene.request.observe(Started("1"))
    assert scene.live.eta_s is None
    scene.step(1, 10, after_s=2)
    assert scene.live.eta_s == 18
    # One that waited for another request does not make all others seem longer.
    scene.step(2, 10, after_s=500)
    scene.step(3, 10, after_s=2)
    assert scene.live.eta_s == 14


def test_the_time_left_runs_down_between_steps(scene: Scene):
    scene.request.observe(Started("1"))
    scene.step(1, 3, after_s=10)
    scene.now += 4
    assert scene.live.eta_s == 16
    scene.now += 100
    assert scene.live.eta_s == 0


def test_several_steps_told_at_once_are_several(scene: Scene):
    scene.request.observe(Started("1"))
    scene.step(4, 8, after_s=8)
    assert scene.live.eta_s == 8


def test_loading_is_no_step(scene: Scene):
    scene.now = 60.0
    scene.request.observe(Started("1"))
    scene.step(1, 2, after_s=1)
    assert scene.live.eta_s == 1


def test_previews_are_counted(scene: Scene):
    scene.request.observe(Delta("1", {"picture": 0, "preview": b"a", "media_type": "image/png"}))
    scene.request.observe(Delta("1", {"picture": 0, "preview": b"b", "media_type": "image/png"}))
    assert scene.live.preview == Preview(b"b", "image/png", 2)


def test_a_piece_of_text_is_no_news(scene: Scene):
    scene.request.observe(Delta("1", {"text": "a"}))
    assert scene.changes == 0


def test_the_next_request_of_an_attempt_is_measured_anew(scene: Scene):
    scene.request.observe(Started("1"))
    scene.step(2, 2, after_s=2)
    second, first = scene.begin(), scene.request
    assert (scene.live.fraction, scene.live.eta_s) == (0.0, None)
    first.observe(Progress("1", 2, 2))
    assert scene.live.fraction == 0.0
    second.observe(Started("2"))
    second.observe(Progress("2", 1, 4))
    assert scene.live.fraction == 0.25


def test_cancelling_ends_what_it_follows_and_what_comes_later(scene: Scene):
    ended: list[str] = []
    scene.request.on_cancel = lambda: ended.append("first")
    scene.live.cancel()
    assert (ended, scene.begin().cancelled) == (["first"], True)
