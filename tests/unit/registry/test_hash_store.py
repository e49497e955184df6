from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from onebox.registry import HashStore
from onebox.registry.recognition import Recognition
from onebox.registry.scanner import FileStat

STAT = FileStat("a.pt", 8, 1_700_000_000_123_456_789, 2**64 - 1)
FOUND = Recognition(family="fake", kind="K", facts={"size": [64, 64]})


def filled(path: Path) -> None:
    store = HashStore(path)
    store.remember_hash("/m/a.pt", STAT, "ab" * 32)
    store.remember_recognition("/m/a.pt", "sig", FOUND)
    store.close()


def test_remembers_over_a_restart(tmp_path: Path) -> None:
    filled(tmp_path / "deep" / "cache.db")
    store = HashStore(tmp_path / "deep" / "cache.db")
    assert store.hash_of("/m/a.pt", STAT) == "ab" * 32
    assert store.recognition_of("/m/a.pt", "sig") == FOUND
    store.close()


@pytest.mark.parametrize("change", [{"size": 9}, {"mtime_ns": 1}, {"inode": 2}])
def test_any_change_of_the_file_forgets(tmp_path: Path, change: dict[str, Any]) -> None:
    filled(tmp_path / "cache.db")
    store = HashStore(tmp_path / "cache.db")
    assert store.hash_of("/m/a.pt", STAT._replace(**change)) is None
    assert store.hash_of("/m/other.pt", STAT) is None
    assert store.recognition_of("/m/a.pt", "another") is None
    store.close()


@pytest.mark.parametrize("kept", [0, 3, 100, 5000])
def test_a_damaged_database_is_made_anew(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cache.db"
    filled(path)
    path.write_bytes(path.read_bytes()[:kept] + b"rubbish" * 2000)
    store = HashStore(path)
    store.remember_hash("/m/b.pt", STAT, "cd" * 32)
    store.close()
    again = HashStore(path)
    assert again.hash_of("/m/b.pt", STAT) == "cd" * 32
    again.close()


def test_damage_while_running_is_mended_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    filled(path)
    store = HashStore(path)
    path.write_bytes(b"rubbish" * 2000)
    store.remember_hash("/m/b.pt", STAT, "cd" * 32)
    store.close()
    assert store.hash_of("/m/b.pt", STAT) == "cd" * 32
    filled(path)
    again = HashStore(path)
    assert again.hash_of("/m/a.pt", STAT) == "ab" * 32
    again.close()


def test_works_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = HashStore(tmp_path / "file" / "cache.db")
    store.remember_hash("/m/a.pt", STAT, "ab" * 32)
    store.flush()
    assert store.hash_of("/m/a.pt", STAT) == "ab" * 32
    store.close()


def test_leaves_the_tables_of_others_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "cache.db") as other:
        other.execute("CREATE TABLE sizes (x)")
        other.execute("INSERT INTO sizes VALUES (1)")
    other.close()
    filled(tmp_path / "cache.db")
    with sqlite3.connect(tmp_path / "cache.db") as other:
        assert other.execute("SELECT x FROM sizes").fetchall() == [(1,)]
    other.close()


def test_an_unreadable_memory_of_a_recognition_is_no_memory(tmp_path: Path) -> None:
    filled(tmp_path / "cache.db")
    with sqlite3.connect(tmp_path / "cache.db") as other:
        other.execute("UPDATE registry_recognitions_1 SET found = X'00'")
    other.close()
    store = HashStore(tmp_path / "cache.db")
    assert store.recognition_of("/m/a.pt", "sig") is None
    store.close()
