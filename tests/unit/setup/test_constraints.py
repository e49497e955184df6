"""constraints.txt, pyproject.toml and the copy for uv say the same."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest

from onebox.setup import constraints, interpreter
from onebox.setup.launch import TEST_EXTRAS

ROOT = Path(__file__).resolve().parents[3]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
PROJECT = tomllib.loads(PYPROJECT)["project"]


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement)[0]).lower()


def test_uv_has_the_same_pins() -> None:
    copied = tomllib.loads(PYPROJECT)["tool"]["uv"]["constraint-dependencies"]
    assert copied == constraints.pins(CONSTRAINTS), "run `python -m onebox.setup.constraints`"
    assert constraints.with_pins(PYPROJECT, CONSTRAINTS) == PYPROJECT


def test_every_pin_is_exact() -> None:
    for pin in constraints.pins(CONSTRAINTS):
        assert re.fullmatch(r"[\w.-]+==[\w.]+(; .+)?", pin), pin
    assert "torch==2.13.0" in constraints.pins(CONSTRAINTS)


def test_every_requirement_is_pinned() -> None:
    extras = [PROJECT["optional-dependencies"][extra] for extra in TEST_EXTRAS]
    wanted = [*PROJECT["dependencies"], *itertools.chain(*extras)]
    pinned = {name_of(pin) for pin in constraints.pins(CONSTRAINTS)}
    assert {name_of(requirement) for requirement in wanted} <= pinned


def test_uvloop_is_left_out_on_windows() -> None:
    uvloop = [line for line in PROJECT["dependencies"] if name_of(line) == "uvloop"]
    assert uvloop[0].endswith("; sys_platform != 'win32'")


def test_supported_pythons_are_those_of_the_set_up() -> None:
    oldest, newest = interpreter.OLDEST[1], interpreter.NEWEST[1]
    assert PROJECT["requires-python"] == f">=3.{oldest},<3.{newest + 1}"


def test_comments_and_empty_lines_are_no_pins() -> None:
    assert constraints.pins("# why\n\na==1  # note\nb==2; sys_platform == 'win32'\n") == [
        "a==1",
        "b==2; sys_platform == 'win32'",
    ]


def test_a_file_without_the_list_is_refused() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        constraints.with_pins("[tool.uv]\n", "a==1\n")
