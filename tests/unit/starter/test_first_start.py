"""The starter set at a server's first start: a child process, and never in the way."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import psutil
import pytest
import structlog.testing

from onebox.core.settings import Settings
from onebox.starter.first_start import FirstStart
from onebox.starter.pull import missing_starters
from tests.support.server import wait_for

PATIENCE_S = 120.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folders = {"model_dirs": (tmp_path / "models",), "data_dir": tmp_path / "data"}
    return Settings(root=tmp_path, starter="on", **folders)


def child(tmp_path: Path, *lines: str) -> list[str]:
    """A command that first notes its process id."""
    note = (
        f"import os, pathlib; pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))"
    )
    return [sys.executable, "-c", "\n".join([note, *lines])]


def test_what_is_missing_is_fetched_by_a_child(settings: Settings, tmp_path: Path) -> None:
    with (
        structlog.testing.capture_logs() as logs,
        contextlib.closing(FirstStart(settings, child(tmp_path))) as first_start,
    ):
        first_start.start()
        first_start.wait(PATIENCE_S)
    assert (tmp_path / "pid").is_file()
    assert [line["models"] for line in logs] == [
        ["SmolLM2-135M-Instruct", "all-MiniLM-L6-v2", "whisper-tiny.en", "u2netp"]
    ]


def test_off_means_off(settings: Settings, tmp_path: Path) -> None:
    off = settings.model_copy(update={"starter": "off"})
    with contextlib.closing(FirstStart(off, child(tmp_path))) as first_start:
        first_start.start()
        first_start.wait(PATIENCE_S)
    assert not (tmp_path / "pid").exists()


def test_nothing_is_started_when_nothing_is_missing(settings: Settings, tmp_path: Path) -> None:
    for starter in missing_starters(settings):
        (settings.model_dirs[0] / starter.folder).mkdir(parents=True)
    with contextlib.closing(FirstStart(settings, child(tmp_path))) as first_start:
        first_start.start()
        first_start.wait(PATIENCE_S)
    assert not (tmp_path / "pid").exists()


def test_a_child_that_breaks_is_one_warning(settings: Settings, tmp_path: Path) -> None:
    command = child(tmp_path, "raise SystemExit(3)")
    with (
        structlog.testing.capture_logs() as logs,
        contextlib.closing(FirstStart(settings, command)) as first_start,
    ):
        first_start.start()
        first_start.wait(PATIENCE_S)
    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert [line["status"] for line in warnings] == [3]
    assert "onebox pull starter" in warnings[0]["event"]


def test_a_command_that_is_not_there_is_one_warning(settings: Settings) -> None:
    with (
        structlog.testing.capture_logs() as logs,
        contextlib.closing(FirstStart(settings, ["/no/such/program"])) as first_start,
    ):
        first_start.start()
        first_start.wait(PATIENCE_S)
    assert [line["log_level"] for line in logs] == ["info", "warning"]


def test_closing_ends_the_child_without_a_word(settings: Settings, tmp_path: Path) -> None:
    command = child(tmp_path, "import threading", "threading.Event().wait()")
    note = tmp_path / "pid"
    with structlog.testing.capture_logs() as logs:
        first_start = FirstStart(settings, command)
        first_start.start()
        pid = int(wait_for(lambda: note.is_file() and note.read_text()))
        first_start.close()
    assert not psutil.pid_exists(pid)
    assert [line["log_level"] for line in logs] == ["info"]
