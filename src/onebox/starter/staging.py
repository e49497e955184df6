"""Where a model lies until it is whole: a hidden folder beside its place, renamed at the end."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from onebox.starter.errors import PullFailed
from onebox.starter.progress import Progress

_SOURCE = ".source"
_LOCK = ".onebox-pull.lock"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,95}")


def is_plain_name(name: str) -> bool:
    """One name of a file or folder: no separators, not hidden, no dots that lead upwards."""
    return _NAME.fullmatch(name) is not None and not name.endswith(".")


@contextmanager
def only_one(models: Path, progress: Progress) -> Iterator[None]:
    """One pull at a time into a model folder, whichever process it runs in.

    Raises PullFailed where the folder cannot be written to.
    """
    try:
        models.mkdir(parents=True, exist_ok=True)
        lock = FileLock(models / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.say(f"another pull into {models} is at work; waiting for it")
            lock.acquire()
    except OSError as error:
        raise PullFailed(
            f"{models} cannot be written to ({error.strerror or error}); "
            "let this user write there, or set MODEL_DIRS"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def staged(target: Path, source: str) -> Iterator[Path]:
    """A hidden folder to fill, which becomes `target` when the body ends well.

    What a failed or killed pull left behind is there again when the same source is asked for.
    Raises PullFailed when something is at `target` already.
    """
    if target.exists():
        raise PullFailed(f"{target} is there already; delete it first to fetch it anew")
    folder = target.with_name(f".{target.name}.pull")
    note = folder / _SOURCE
    if not note.is_file() or note.read_text(encoding="utf-8") != source:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        note.write_text(source, encoding="utf-8")
    yield folder
    note.unlink()
    folder.rename(target)
