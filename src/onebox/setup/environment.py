"""The project's own environment, .venv: used as it is, brought up to date, or built anew."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Iterator, Sequence

from onebox.setup import install, interpreter, process, remedies, stamp, torch_build
from onebox.setup.errors import SetupError
from onebox.setup.install import say
from onebox.setup.stamp import Action, Stamp

_LOCK_WAIT_S = 3600


def ensure(root: Path, extras: Sequence[str] = ()) -> Path:
    """The Python of an environment that has the project and these extras."""
    venv = root / ".venv"
    if not _is_current(root, venv, extras):
        try:
            with _only_one(root):
                _bring_about(root, venv, extras)
        except OSError as error:
            raise SetupError(str(error), remedies.install_failure(str(error))) from error
    return stamp.python_of(venv)


def describe(root: Path, venv: Path, extras: Sequence[str], found: Stamp | None) -> Stamp:
    """What the environment should be made from. The torch build stands while the drivers do."""
    hardware = torch_build.hardware_hint()
    build = torch_build.override()
    if not build and found is not None and found.hardware == hardware:
        build = found.torch
    return Stamp(
        stamp.hash_constraints(root),
        build or _fitting_build(),
        hardware,
        stamp.interpreter_of(venv),
        str(venv),
        tuple(sorted({*extras, *(found.extras if found is not None else ())})),
    )


def _is_current(root: Path, venv: Path, extras: Sequence[str]) -> bool:
    """The second start's whole work: reads three small files and starts no process."""
    found = stamp.read(venv)
    if found is None or found.hardware != torch_build.hardware_hint():
        return False
    return stamp.plan(found, describe(root, venv, extras, found)) is Action.USE


def _bring_about(root: Path, venv: Path, extras: Sequence[str]) -> None:
    found = stamp.read(venv)  # again: whoever held the lock before us may have done it all
    wanted = describe(root, venv, extras, found)
    action = stamp.plan(found, wanted)
    if found is None and _has_everything(root, venv, extras):
        action = Action.USE  # not ours, made by uv or by hand, and as good
    if action is Action.REBUILD:
        python = interpreter.choose(interpreter.current())
        say(f"making .venv with Python {python.label} (once; this takes a few minutes)")
        install.make_venv(venv, python)
        wanted = wanted._replace(interpreter=stamp.interpreter_of(venv))
    if action is not Action.USE:
        stamp.write(venv, wanted)  # incomplete: a start killed from here on leaves a mark
        install.install(root, venv, wanted.extras, wanted.torch)
        say(".venv is ready")
    stamp.write(venv, wanted._replace(complete=True))


def _fitting_build() -> str:
    choice = torch_build.choose(torch_build.inspect())
    if choice.note:
        say(choice.note)
    return choice.build


def _has_everything(root: Path, venv: Path, extras: Sequence[str]) -> bool:
    """Ask the Python of an unstamped environment whether it meets every requirement."""
    question = (
        "import sys; from pathlib import Path; root = Path(sys.argv[1]); "
        "sys.path.insert(0, str(root / 'src')); from onebox.setup import requirements; "
        "sys.exit(bool(requirements.missing(root, sys.argv[2:])))"
    )
    python = stamp.python_of(venv)
    return process.ask([str(python), "-c", question, str(root), *extras]).ok


@contextlib.contextmanager
def _only_one(root: Path) -> Iterator[None]:
    """Two first starts at once would destroy each other's .venv.

    SQLite, because its file locks work the same on every system and end with their process.
    """
    try:
        import sqlite3
    except ImportError:  # some self-built Pythons; then two starts at once are the person's risk
        yield
        return
    path = root / ".venv.lock"
    path.touch()  # where this may not be written, an OSError says it better than SQLite does
    lock = sqlite3.connect(str(path), timeout=0, isolation_level=None)
    with contextlib.closing(lock):
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            say("another set-up is at work on .venv; waiting for it")
            lock.execute(f"PRAGMA busy_timeout = {_LOCK_WAIT_S * 1000}")
            lock.execute("BEGIN EXCLUSIVE")
        yield
