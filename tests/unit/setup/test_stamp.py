"""When .venv is used, updated or built anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from onebox.setup import stamp
from onebox.setup.stamp import Action, Stamp, plan

WANTED = Stamp("hash", "cpu", "hardware", "/usr/bin/python3.12", "/srv/onebox/.venv")
DONE = WANTED._replace(complete=True)


@pytest.mark.parametrize(
    ("found", "wanted", "action"),
    [
        (None, WANTED, Action.REBUILD),
        (WANTED, WANTED, Action.REBUILD),  # half-made: never marked complete
        (DONE, WANTED, Action.USE),
        (DONE._replace(extras=("dev",)), WANTED, Action.USE),  # app.py after test.py
        (DONE, WANTED._replace(extras=("dev",)), Action.UPDATE),  # test.py after app.py
        (DONE, WANTED._replace(constraints="other"), Action.UPDATE),
        (DONE, WANTED._replace(torch="cu130"), Action.REBUILD),
        (DONE, WANTED._replace(interpreter="/usr/bin/python3.13"), Action.REBUILD),
        (DONE, WANTED._replace(interpreter=""), Action.REBUILD),  # its Python is gone
        (DONE, WANTED._replace(location="/elsewhere/.venv"), Action.REBUILD),
        (DONE, WANTED._replace(hardware="new driver, same build"), Action.USE),
    ],
)
def test_plan(found: Stamp | None, wanted: Stamp, action: Action) -> None:
    assert plan(found, wanted) is action


def test_a_stamp_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = DONE._replace(extras=("dev",))
    stamp.write(tmp_path, written)
    assert stamp.read(tmp_path) == written


@pytest.mark.parametrize("text", ["", "{", "[]", '{"torch": "cpu"}', '{"extras": [], "new": 1}'])
def test_an_unreadable_stamp_is_no_stamp(tmp_path: Path, text: str) -> None:
    (tmp_path / "onebox-stamp.json").write_text(text)
    assert stamp.read(tmp_path) is None


def test_the_hash_follows_the_pins_and_not_the_line_endings(tmp_path: Path) -> None:
    pins = tmp_path / "constraints.txt"
    pins.write_bytes(b"torch==2.13.0\n")
    unix = stamp.hash_constraints(tmp_path)
    pins.write_bytes(b"torch==2.13.0\r\n")
    assert stamp.hash_constraints(tmp_path) == unix
    pins.write_bytes(b"torch==2.14.0\n")
    assert stamp.hash_constraints(tmp_path) != unix


def test_an_interpreter_that_is_gone_has_no_name(tmp_path: Path) -> None:
    assert stamp.interpreter_of(tmp_path) == ""
