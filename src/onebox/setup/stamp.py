"""The stamp in .venv: what it was made from. Comparing it is all that a second start does."""

from __future__ import annotations

import hashlib
import json
import os
from enum import Enum
from pathlib import Path
from typing import NamedTuple

_FILE = "onebox-stamp.json"


class Action(Enum):
    """What to do with the environment that is there."""

    USE = "use"
    UPDATE = "update"
    REBUILD = "rebuild"


class Stamp(NamedTuple):
    """What an environment was made from; `complete` is false from the first step to the last."""

    constraints: str
    torch: str
    hardware: str
    interpreter: str
    location: str
    extras: tuple[str, ...] = ()
    complete: bool = False


def plan(found: Stamp | None, wanted: Stamp) -> Action:
    """Packages can be changed in place; another torch build, Python or place needs a new start."""
    if found is None or not found.complete:
        return Action.REBUILD
    basis = ("torch", "interpreter", "location")
    if any(getattr(found, name) != getattr(wanted, name) for name in basis):
        return Action.REBUILD
    if found.constraints != wanted.constraints or not set(wanted.extras) <= set(found.extras):
        return Action.UPDATE
    return Action.USE


def read(venv: Path) -> Stamp | None:
    """The stamp, or None where there is none that can be read."""
    try:
        fields = json.loads((venv / _FILE).read_text(encoding="utf-8"))
        return Stamp(**{**fields, "extras": tuple(fields["extras"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(venv: Path, stamp: Stamp) -> None:
    """Replaced in one step: a stamp is whole or not there."""
    scratch = venv / (_FILE + ".new")
    scratch.write_text(json.dumps(stamp._asdict(), indent=2) + "\n", encoding="utf-8")
    os.replace(str(scratch), str(venv / _FILE))


def hash_constraints(root: Path) -> str:
    """Line endings do not count: git changes them on Windows."""
    text = (root / "constraints.txt").read_text(encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def python_of(venv: Path) -> Path:
    """Where an environment keeps its Python."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def interpreter_of(venv: Path) -> str:
    """The file that really runs; it goes away or moves when the system replaces its Python."""
    path = python_of(venv)
    return os.path.realpath(str(path)) if path.exists() else ""
