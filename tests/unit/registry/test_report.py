from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.unit.registry.fakes import Bench, put, weights


def told(bench: Bench) -> list[str]:
    with capture_logs() as logs:
        bench.settle()
    return [f"{line['event']} {line.get('name', '')}".strip() for line in logs]


def test_one_line_for_each_thing_that_happens(folder: Path, bench: Bench) -> None:
    path = put(folder / "a.safetensors", weights())
    assert told(bench) == ["checkpoint appeared a"]
    assert told(bench) == []
    put(path, weights(b"other"))
    assert told(bench) == ["checkpoint being written a", "checkpoint appeared a"]
    put(path, b"rubbish rubbish")
    assert told(bench) == ["checkpoint being written a", "checkpoint broken a"]
    path.unlink()
    assert told(bench) == ["checkpoint removed a"]


def test_a_broken_one_is_told_once_and_its_mending_too(folder: Path, bench: Bench) -> None:
    put(folder / "a.safetensors", weights())
    bench.disk.unreadable.add("a.safetensors")
    assert told(bench) == ["checkpoint broken a"]
    assert told(bench) == []
    bench.disk.unreadable.clear()
    assert told(bench) == ["checkpoint changed a"]


def test_a_second_copy_is_told_once(folder: Path, bench: Bench) -> None:
    put(folder / "a.safetensors", weights())
    told(bench)
    put(folder / "b.safetensors", weights())
    assert told(bench) == ["checkpoint appeared b"]


@pytest.mark.parametrize("count", [21, 500])
def test_many_are_summed_up(folder: Path, bench: Bench, count: int) -> None:
    for number in range(count):
        put(folder / f"{number}.safetensors", weights(b"%d" % number))
    with capture_logs() as logs:
        bench.settle()
    assert len(logs) == 21
    assert logs[-1]["appeared"] == count - 20
