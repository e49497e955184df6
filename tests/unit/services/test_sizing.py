"""What a request takes: by headers and input at first, then as measured."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from onebox.core.contracts import Device, Entry, Family, RunContext, Task
from onebox.core.errors import ModelNotFound
from onebox.core.on_disk import Match, OnDisk
from onebox.core.results import Output
from onebox.services.footprints import Footprints
from onebox.services.sizing import Sizing, Weights, Working

CPU = Device("cpu", "cpu", "A CPU", "cpu", "host", 64, 64, "float32", "float32")
CARD = Device("cuda:0", "cuda", "A card", "cuda:0", "cuda:0", 64, 64, "float16", "float16")
OTHER_CARD = msgspec.structs.replace(CARD, id="cuda:1", name="Another card")
SAME_CARD = msgspec.structs.replace(CARD, id="cuda:1")
SHA = "ab" * 32


def entry(sha256: str | None = SHA, key: str = "k", **overrides: Any) -> Entry:
    return Entry(key, "m", "/m", "", 1, "ready", sha256=sha256, family="fake", overrides=overrides)


class Request(BaseModel):
    size: int = 8


class FakeTask(Task[Request]):
    name = "fake-task"

    def reserve_bytes(self, request: Request, entry: Entry, device: Device) -> int:
        return request.size * 100

    def size_class(self, request: Request) -> str:
        return str(request.size) if request.size else ""

    def run(self, bundle: Any, request: Request, context: RunContext) -> list[Output]:
        raise NotImplementedError


class FakeFamily(Family):
    name = "fake"

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def matches(self, on_disk: OnDisk) -> Match | None:
        return None

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        self.threads.append(threading.current_thread())
        return 1000 if device.kind == "cpu" else 500

    def load(self, entry: Entry, device: Device) -> Any:
        raise NotImplementedError


class FakeRegistry:
    """Every checkpoint is there until it is gone."""

    gone = False

    def on_disk(self, entry: Entry) -> None:
        if self.gone:
            raise ModelNotFound("it is no longer there")


TASK = FakeTask()


@pytest.fixture
def family() -> FakeFamily:
    return FakeFamily()


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def sizing(family: FakeFamily, registry: FakeRegistry) -> Sizing:
    return Sizing(registry, Footprints(None), {"fake": family})


def weights(sizing: Sizing, of: Entry, device: Device = CARD) -> Weights:
    return asyncio.run(sizing.weights(of, device))


def test_headers_are_read_once_per_device_and_not_on_the_loop(
    sizing: Sizing, family: FakeFamily
) -> None:
    assert weights(sizing, entry()) == Weights(500, None)
    assert weights(sizing, entry()).expected_bytes == 500
    assert weights(sizing, entry(), CPU).expected_bytes == 1000
    assert len(family.threads) == 2
    assert threading.main_thread() not in family.threads


def test_a_known_model_costs_no_turn_of_the_loop(sizing: Sizing) -> None:
    weights(sizing, entry())
    again = sizing.weights(entry(), CARD)
    with pytest.raises(StopIteration) as end:
        again.send(None)
    assert end.value.value == Weights(500, None)


def test_a_failed_estimate_is_tried_again(sizing: Sizing, registry: FakeRegistry) -> None:
    registry.gone = True
    with pytest.raises(ModelNotFound):
        weights(sizing, entry())
    registry.gone = False
    assert weights(sizing, entry()).estimate_bytes == 500


def test_measured_weights_replace_the_estimate(sizing: Sizing) -> None:
    sizing.remember_weights(entry(), CARD, 480)
    assert weights(sizing, entry()) == Weights(500, 480)
    assert weights(sizing, entry()).expected_bytes == 480
    assert weights(sizing, entry(key="moved")).expected_bytes == 480
    assert weights(sizing, entry(), SAME_CARD).expected_bytes == 480


def test_what_was_measured_elsewhere_is_not_used(sizing: Sizing) -> None:
    sizing.remember_weights(entry(), CARD, 480)
    sizing.remember_working(entry(), TASK, Request(), CARD, 100)
    for other, device in (
        (entry(), OTHER_CARD),
        (entry(), CPU),
        (entry("cd" * 32), CARD),
        (entry(dtype="float32"), CARD),
    ):
        assert weights(sizing, other, device).measured_bytes is None
        assert sizing.working(other, TASK, Request(), device).measured_bytes is None


def test_measured_work_replaces_the_estimate_with_a_margin(sizing: Sizing) -> None:
    assert sizing.working(entry(), TASK, Request(), CARD) == Working(800, None)
    assert sizing.working(entry(), TASK, Request(), CARD).expected_bytes == 800
    sizing.remember_working(entry(), TASK, Request(), CARD, 1000)
    sizing.remember_working(entry(), TASK, Request(), CARD, 600)
    assert sizing.working(entry(), TASK, Request(), CARD) == Working(800, 1000)
    assert sizing.working(entry(), TASK, Request(), CARD).expected_bytes == 1100
    assert sizing.working(entry(), TASK, Request(size=9), CARD) == Working(900, None)


def test_work_without_a_size_class_is_not_remembered(sizing: Sizing) -> None:
    sizing.remember_working(entry(), TASK, Request(size=0), CARD, 1000)
    assert sizing.working(entry(), TASK, Request(size=0), CARD) == Working(0, None)


def test_what_is_not_hashed_yet_is_remembered_by_its_key(sizing: Sizing) -> None:
    new, other = entry(None), entry(None, key="other")
    sizing.remember_weights(new, CARD, 480)
    sizing.remember_working(new, TASK, Request(), CARD, 1000)
    for known in (new, entry()):  # before its hash and after
        assert weights(sizing, known).measured_bytes == 480
        assert sizing.working(known, TASK, Request(), CARD).measured_bytes == 1000
    assert weights(sizing, other).measured_bytes is None


def test_what_is_not_hashed_yet_is_not_written(family: FakeFamily, tmp_path: Path) -> None:
    for sha256, expected in ((None, None), (SHA, 480)):
        store = Footprints(tmp_path / "cache.db")
        Sizing(FakeRegistry(), store, {"fake": family}).remember_weights(entry(sha256), CARD, 480)
        store.close()
        again = Footprints(tmp_path / "cache.db")
        assert weights(Sizing(FakeRegistry(), again, {"fake": family}), entry()) == Weights(
            500, expected
        )
        again.close()
