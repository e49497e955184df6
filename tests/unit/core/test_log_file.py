"""Log lines in files: their order and rotation, and a disk that fails."""

from __future__ import annotations

import json
import shutil
import stat
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from filelock import FileLock

from onebox.core.log_file import MAX_WAITING, LogFile, LogFilePlan

PLAN = LogFilePlan("", 1_000_000, 5)
FULL = Path("/dev/full")


class Told(list):
    """What was said on the console."""

    def __init__(self):
        super().__init__()
        self.any = threading.Event()

    def __call__(self, text):
        self.append(text)
        self.any.set()


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def make(tmp_path, told):
    made = []

    def make(name="logs/onebox.log", **fields):
        plan = msgspec.structs.replace(PLAN, path=str(tmp_path / name), **fields)
        made.append(LogFile(plan, tell=told, clock=lambda: 0.0, gather_s=0.0))
        return made[-1]

    yield make
    for file in made:
        file.close()


def written(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_lines_are_written_in_order_also_those_from_before_it_was_opened(make):
    file = make()
    for number in range(100):
        file.put(f"before {number}")
    file.open()
    for number in range(100):
        file.put(f"after {number}")
    file.close()
    assert written(file.path) == [
        *(f"before {number}" for number in range(100)),
        *(f"after {number}" for number in range(100)),
    ]


def test_nothing_is_on_the_disk_before_it_is_opened(make, tmp_path):
    make().put("a line")
    assert list(tmp_path.iterdir()) == []


def test_a_full_file_is_put_aside_and_only_so_many_are_kept(make):
    file = make(max_bytes=1000, backups=2)
    file.open()
    for number in range(100):
        file.put(f"{number:03} " + "x" * 95)
    file.close()
    logs = sorted(path for path in file.path.parent.iterdir() if path.suffix != ".lock")
    assert [path.name for path in logs] == ["onebox.log", "onebox.log.1", "onebox.log.2"]
    assert all(path.stat().st_size <= 1000 for path in logs)
    kept = [line[:3] for path in reversed(logs) for line in written(path)]
    assert kept[-1] == "099"
    assert kept == [f"{number:03}" for number in range(100 - len(kept), 100)]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no modes there")
def test_only_its_owner_may_read_a_log(make):
    file = make(max_bytes=500)
    file.open()
    for _ in range(20):
        file.put("x" * 100)
    file.close()
    for path in file.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_told_of_once(make, told, tmp_path):
    (tmp_path / "logs").write_text("a file, not a folder")
    file = make()
    file.open()
    for number in range(50):
        file.put(f"{number}")
    assert told.any.wait(60)
    file.put("one more")
    file.close()
    assert len(told) == 1
    assert str(file.path) in told[0]
    assert "ONEBOX_LOG_FILE" in told[0]


@pytest.mark.skipif(not FULL.exists(), reason="there is no such device there")
def test_a_full_disk_is_told_of_and_what_was_lost_is_counted(make, told):
    file = make()
    file.path.parent.mkdir()
    file.path.symlink_to(FULL)
    file.open()
    file.put("lost")
    assert told.any.wait(60)
    assert "No space left" in told[0]
    file.path.unlink()
    file.put("written")  # When it is closed it tries at once.
    file.close()
    assert written(file.path)[0] == "written"
    assert json.loads(written(file.path)[1]) == {
        "event": "log_lines_lost",
        "level": "warning",
        "lines": 1,
    }
    assert len(told) == 1


def test_two_processes_never_write_one_file(make, told):
    file = make()
    file.path.parent.mkdir()
    with FileLock(f"{file.path}.lock"):
        file.open()
        file.put("a line")
        assert told.any.wait(60)
    assert "another process writes it" in told[0]
    assert not file.path.exists()


def test_a_disk_that_does_not_answer_fills_no_memory(make):
    file = make()
    for number in range(MAX_WAITING + 7):
        file.put(str(number))
    file.open()
    file.close()
    *lines, last = written(file.path)
    assert len(lines) == MAX_WAITING
    assert json.loads(last)["lines"] == 7


def test_each_worker_has_a_file_of_its_own():
    plan = LogFilePlan("/logs/onebox.log", 1, 2)
    assert plan.of_worker(0).path == "/logs/onebox-worker-0.log"
    assert plan.of_worker(1) == LogFilePlan("/logs/onebox-worker-1.log", 1, 2)


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be deleted there")
def test_a_file_that_someone_deletes_with_its_folder_is_made_anew(make, tmp_path, told):
    file = make()
    file.open()
    file.put("before")
    wait_for_text(file.path, "before\n")
    shutil.rmtree(file.path.parent)
    file.put("after")
    file.close()
    assert file.path.read_text() == "after\n"
    assert not told


def test_a_line_without_an_end_does_not_run_into_the_next(make, tmp_path):
    path = tmp_path / "onebox.log"
    path.write_text('{"event":"to')
    file = make("onebox.log")
    file.open()
    file.put('{"event":"whole"}')
    file.close()
    assert path.read_text().splitlines()[1:] == ['{"event":"whole"}']


def test_half_a_character_keeps_no_other_line_out(make, told):
    file = make()
    file.open()
    for line in ("one", "\ud800", "two"):
        file.put(line)
    file.close()
    assert file.path.read_text().splitlines() == ["one", r"\ud800", "two"]
    assert not told


def wait_for_text(path, text):
    """Wait for it."""
    for _ in range(1000):
        if path.is_file() and path.read_text() == text:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{path} does not hold {text!r}")
