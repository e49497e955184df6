from __future__ import annotations

import os
import stat
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
