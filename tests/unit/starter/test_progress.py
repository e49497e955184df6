"""What a person sees of a pull, and what a log does."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator

import structlog.testing

from onebox.starter.progress import Bar, LogLines, human_bytes, progress_for


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_bytes_are_told_in_units_of_a_thousand() -> None:
    assert [human_bytes(count) for count in (0, 999, 1500, 98_362_432, 2e12, 3e16)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "98.4 MB",
        "2.0 TB",
        "30000.0 TB",
    ]


def test_a_bar_ends_full_and_on_a_line_of_its_own() -> None:
    stream = Terminal()
    bar = progress_for(stream)
    assert isinstance(bar, Bar)
    bar.begin("model", 2000)
    bar.at(1000)
    bar.at(2000)
    bar.end()
    last = stream.getvalue().split("\r")[-2:]
    assert "100%" in last[0]
    assert "2.0 kB of 2.0 kB" in last[0]
    assert stream.getvalue().endswith("\n")


def test_a_terminal_that_knows_no_blocks_is_no_problem() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    bar = Bar(stream)
    bar.begin("model", 10)
    bar.at(10)
    bar.end()


def slowly() -> Iterator[float]:
    """A clock that shows minutes more each time."""
    return itertools.count(0.0, 100.0)


def test_a_log_gets_a_line_every_tenth_of_the_way() -> None:
    with structlog.testing.capture_logs() as logs:
        lines = LogLines(slowly().__next__)
        lines.begin("model", 1000)
        for done in range(0, 1001, 5):
            lines.at(done)
    assert [line["percent"] for line in logs] == list(range(0, 101, 10))


def test_a_quick_pull_gets_one_line() -> None:
    with structlog.testing.capture_logs() as logs:
        lines = LogLines(lambda: 7.0)
        lines.begin("model", 1000)
        for done in range(0, 1001, 5):
            lines.at(done)
        lines.begin("the next", 10)
        lines.at(10)
    assert [(line["model"], line["percent"]) for line in logs] == [("model", 0), ("the next", 0)]


def test_a_size_that_comes_out_later_is_taken() -> None:
    with structlog.testing.capture_logs() as logs:
        lines = LogLines(slowly().__next__)
        lines.begin("model", 0)
        lines.expect(100)
        lines.at(100)
    assert [line["percent"] for line in logs] == [0, 100]


def test_progress_never_goes_back_or_over_the_end() -> None:
    bar = Bar(Terminal())
    bar.begin("model", 10)
    bar.at(8)
    bar.at(3)
    assert bar.done == 8
    bar.at(30)
    assert bar.done == 10
