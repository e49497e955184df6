"""Sources and their children: how they end, and how much they take."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from onebox.audio.decoding import options
from onebox.audio.decoding.nursery import Nursery
from onebox.audio.decoding.process import Child
from onebox.core.errors import InferenceFailed
from tests.audio.listening import heard, joined, opened, windows_of
from tests.audio.sounds import file_of, silent_opus, tones, wav
from tests.support.server import has_ended, wait_for

WAIT_S = 120.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def nursery():
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="module")
def long_file() -> bytes:
    """Twenty minutes: more than is decoded ahead."""
    return silent_opus(1 / 3)


OTHERS: set[int] = set()  # Decoders that tests before have left behind, ready for more.


@pytest.fixture(autouse=True)
def only_mine():
    OTHERS.clear()
    OTHERS.update(child.pid for child in children())


def children() -> list[psutil.Process]:
    """Decoders of this process."""
    found = []
    for child in psutil.Process().children():
        if child.pid in OTHERS:
            continue
        try:
            if any(word.endswith("decoding/child.py") for word in child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def begun(source) -> None:
    """Start it, and wait for its first window."""
    told = threading.Event()
    source.start(told.set)
    assert told.wait(WAIT_S)


def wait_until_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=WAIT_S)
    assert alive == []


def test_a_long_file_waits_until_its_windows_are_taken(nursery, long_file):
    source = opened(long_file, nursery=nursery)
    begun(source)
    taken = windows_of_started(source)
    assert sum(len(window.samples) for window in taken) == pytest.approx(1200 * 16_000, abs=16_000)
    assert source.seconds_decoded == pytest.approx(1200, abs=1)


def windows_of_started(source) -> list:
    taken, waiting, longest = [], threading.Event(), 0.0
    while not source.ended:
        windows = source.take(2)
        taken += windows
        done = sum(window.length_s for window in taken)
        longest = max(longest, source.seconds_decoded - done)
        if not windows:
            waiting.wait(0.01)
    assert longest <= options.AHEAD_S + 60
    return taken


def test_closing_while_it_decodes_ends_the_child(nursery, long_file):
    source = opened(long_file, nursery=nursery)
    begun(source)
    mine = children()
    nursery.close()
    source.close()
    source.close()
    wait_until_gone(mine)
    assert source.take(5) == []


def test_closing_before_the_start_ends_the_child(nursery):
    source = opened(file_of("flac"), nursery=nursery)
    nursery.close()
    mine = children()
    assert mine != []
    source.close()
    wait_until_gone(mine)
    source.start(lambda: None)
    assert source.take(5) == []


def test_a_child_that_is_killed_is_an_error_that_may_be_tried_again(nursery, long_file):
    source = opened(long_file, nursery=nursery)
    begun(source)
    for child in children():
        child.kill()
    with pytest.raises(InferenceFailed, match="try again"):
        windows_of_started(source)
    assert not source.ended
    source.close()
    assert len(heard(file_of("flac"), nursery=nursery)) == 1


def test_more_sources_than_places_are_all_heard(nursery):
    data = wav(tones(3.0)[0] * 20_000)
    sources = [opened(data, nursery=nursery) for _ in range(9)]
    assert len(children()) <= 4 + 1
    results: list[int] = []

    def listen(source) -> None:
        results.append(len(joined(windows_of(source))))

    threads = [threading.Thread(target=listen, args=(source,)) for source in sources]
    most = 0
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most = max(most, len(children()))
    assert results == [48_000] * 9
    assert most <= 4 + 1


def test_short_files_do_not_wait_for_long_ones(nursery, long_file):
    slow = [opened(long_file, nursery=nursery) for _ in range(6)]
    for source in slow[:4]:
        begun(source)
    for source in slow[4:]:
        source.start(lambda: None)
    assert len(heard(file_of("flac"), nursery=nursery)) == 1
    for source in slow:
        source.close()


def test_a_spare_child_is_kept_and_ended(nursery):
    heard(file_of("flac"), nursery=nursery)
    # The one that has decoded may still be ending.
    wait_for(lambda: not nursery._growing and len(children()) == 1)
    (spare,) = children()
    nursery.close()
    wait_until_gone([spare])


def test_raw_samples_of_a_few_seconds_need_no_child(nursery):
    heard(bytes(32_000), media_type="audio/pcm", nursery=nursery)
    assert children() == []


def test_a_child_has_nothing_to_open_and_little_to_take(monkeypatch):
    monkeypatch.setenv("ONEBOX_SECRET", "x")
    if sys.platform != "linux":
        pytest.skip("only Linux shows the limits of another process")
    child = Child()
    child.wait_until_ready()
    orders = {
        "demuxer": "wav",
        "codecs": ["pcm_s16le"],
        "max_seconds": 600.0,
        "vad": None,
        "probe_cpu_s": options.PROBE_CPU_S,
        "cpu_per_second": options.CPU_PER_SECOND,
        "working_bytes": options.WORKING_BYTES,
    }
    child.order(orders, wav(np.zeros(16_000)))
    limits = Path(f"/proc/{child.pid}/limits").read_text()
    environment = Path(f"/proc/{child.pid}/environ").read_text()
    child.end()
    rows = {line[:26].strip(): line[26:].split() for line in limits.splitlines()}
    for name in ("Max open files", "Max file size", "Max core file size"):
        assert rows[name][:2] == ["0", "0"]
    assert int(rows["Max address space"][0]) < 3 << 30
    assert int(rows["Max cpu time"][1]) <= 20 + 20 + 60 + 5
    assert "ONEBOX" not in environment


ORPHAN = """
import sys, threading
from onebox.audio.decoding.source import open_source
source = open_source(sys.stdin.buffer.read(), "audio/ogg", max_seconds=1e4, vad=None)
told = threading.Event()
source.start(told.set)
told.wait(60)
import psutil
print(*[child.pid for child in psutil.Process().children()], flush=True)
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_children_end_with_their_parent(long_file):
    if sys.platform == "win32":
        pytest.skip("it ends itself with a POSIX signal")
    result = subprocess.run(
        [sys.executable, "-c", ORPHAN],
        input=long_file,
        capture_output=True,
        env={"PYTHONPATH": str(ROOT / "src")},
        timeout=WAIT_S,
        check=False,
    )
    pids = [int(pid) for pid in result.stdout.split()]
    assert pids != []
    wait_for(lambda: all(map(is_gone, pids)))


def is_gone(pid: int) -> bool:
    try:
        return has_ended(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True


HOUR = """
import json, sys, threading
import psutil
from onebox.audio.decoding.source import open_source
from onebox.audio.decoding.options import VadOptions
data = sys.stdin.buffer.read()
warm = open_source(data[:0] + bytes(64000), "audio/pcm", max_seconds=1e5, vad=VadOptions())
me, peaks = psutil.Process(), [0, 0]
source = open_source(data, "audio/x", max_seconds=1e5, vad=None)
base = me.memory_info().rss
told = threading.Event()
source.start(told.set)
seconds = 0.0
while not source.ended:
    seconds += sum(window.length_s for window in source.take(2))
    peaks[0] = max(peaks[0], me.memory_info().rss - base)
    for child in me.children():
        try:
            peaks[1] = max(peaks[1], child.memory_info().rss)
        except psutil.Error:
            pass
    told.wait(0.05)
    told.clear()
print(json.dumps({"seconds": seconds, "parent": peaks[0], "child": peaks[1]}))
"""


def test_an_hour_of_sound_takes_little_memory():
    result = subprocess.run(
        [sys.executable, "-c", HOUR],
        input=silent_opus(1.0),
        capture_output=True,
        env={"PYTHONPATH": str(ROOT / "src")},
        timeout=240,
        check=True,
    )
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["seconds"] == pytest.approx(3600, abs=2)
    # Undecoded it would be 115 MB.
    assert found["parent"] < 48e6
    assert found["child"] < 160e6
