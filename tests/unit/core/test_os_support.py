from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from onebox.core.os_support import is_clock_unsynchronised, usable_cpus, write_private


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_a_private_file_is_its_owners_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        write_private(tmp_path / "key", "geheim ü\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert (tmp_path / "key").read_text(encoding="utf-8") == "geheim ü\n"


def test_a_private_file_never_replaces_another(tmp_path):
    (tmp_path / "key").write_text("old")
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "key", "new")
    assert (tmp_path / "key").read_text() == "old"


def test_there_is_a_cpu_to_use_and_no_more_than_the_machine_has():
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)


def test_the_kernel_is_asked_about_its_clock_where_it_can_be():
    expected = (True, False, None) if sys.platform == "linux" else (None,)
    assert is_clock_unsynchronised() in expected


# 64 MiB on a thread of its own, in one block or several: how much of it is resident after it was
# freed, and was given back.
FREED = """
import sys, threading
from onebox.core.os_support import keep_freed_memory, return_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

keep_freed_memory()
before = resident()
count = int(sys.argv[1])
take = lambda: [bytearray(b"x") * ((64 << 20) // count) for _ in range(count)]
thread = threading.Thread(target=take)
thread.start()
thread.join()
kept = resident() - before
return_freed_memory()
print(kept, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_freed_memory_stays_with_the_process_until_it_is_returned():
    kept, left = _kept_and_left(blocks=64)
    assert kept >= 60
    assert left <= 4


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_a_block_as_large_as_weights_is_returned_at_once():
    kept, _ = _kept_and_left(blocks=1)
    assert kept <= 4


def _kept_and_left(*, blocks: int) -> tuple[int, int]:
    """MiB that stay after they were freed, and after they were given back."""
    command = [sys.executable, "-c", FREED, str(blocks)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    kept, left = map(int, ran.stdout.split())
    return kept, left
