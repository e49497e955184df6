"""A cache file is opened whatever state it is in; the worst is that it starts empty."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from onebox.core.disposable_db import open_disposable


def prepare(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE IF NOT EXISTS words (word TEXT)")
    database.execute("SELECT * FROM words").fetchall()


def words(path: Path) -> list[str]:
    with closing(open_disposable(path, prepare)) as database:
        return [word for (word,) in database.execute("SELECT word FROM words")]


def write(path: Path, word: str) -> None:
    with closing(open_disposable(path, prepare)) as database, database:
        database.execute("INSERT INTO words VALUES (?)", [word])


def test_it_is_there_again(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "cache.db", "kept")
    assert words(tmp_path / "deep" / "cache.db") == ["kept"]


def test_a_reader_does_not_block_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with closing(open_disposable(path, prepare)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM words").fetchall()
        write(path, "meanwhile")
    assert words(path) == ["meanwhile"]


@pytest.mark.parametrize("kept", [0, 3, 100, 5000])
def test_a_damaged_file_is_made_anew(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cache.db"
    write(path, "lost")
    path.write_bytes(path.read_bytes()[:kept] + b"rubbish" * 2000)
    assert words(path) == []
    write(path, "new")
    assert words(path) == ["new"]


def test_a_file_that_cannot_be_made_is_kept_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with closing(open_disposable(tmp_path / "file" / "cache.db", prepare)) as database:
        database.execute("INSERT INTO words VALUES ('here')")
        assert database.execute("SELECT * FROM words").fetchall() == [("here",)]


def test_a_folder_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cache.db").mkdir()
    assert words(tmp_path / "cache.db") == []
    assert (tmp_path / "cache.db").is_dir()
