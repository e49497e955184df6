"""`Child`: one life of the process that converts one file, as its parent sees it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onebox.core.os_support import own_group, was_killed

MIB = 1024 * 1024
# For the import of torch on a busy machine.
START_LIMIT_S = 180.0
LIMIT_S = 60.0
# Per second, of what is read and written: a slow disk has ten times as much.
LEAST_RATE = 5 * MIB
WORKING_BYTES = 2048 * MIB
# All the child needs to know of its surroundings; keys and tokens lie there too.
_KEPT_ENVIRONMENT = ("SYSTEMROOT", "PATH", "LD_LIBRARY_PATH")
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_ZIP = b"PK\x03\x04"
_ANSWER_BYTES = 10_000


class PickleRefused(Exception):
    """The file cannot be converted, whoever tries. `kind` as in the child's answer."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class ChildFailed(Exception):
    """The child ended without an answer, and that is not known to be the file's fault."""


class Child:
    """Used by one thread, but for `kill`.

    Args:
        target: of the result; must not exist.
        most_bytes: that the result may take.
        limit_s: from the first look into the file on; by its size unless given.
    """

    def __init__(
        self, source: Path, target: Path, *, most_bytes: int, limit_s: float | None = None
    ) -> None:
        size = source.stat().st_size
        self._limit_s = LIMIT_S + size / LEAST_RATE if limit_s is None else limit_s
        self._late = threading.Event()
        self._started = False
        self._orders = {
            "source": str(source),
            "target": str(target),
            "source_bytes": size,
            "most_bytes": most_bytes,
            # Only the tensors of a zip file stay in the file.
            "working_bytes": WORKING_BYTES + (0 if _is_zip(source) else size),
            "cpu_s": START_LIMIT_S + self._limit_s,
        }
        kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, **dict.fromkeys(_ONE_THREAD, "1"), "CUDA_VISIBLE_DEVICES": ""},
            **own_group(),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """From any thread, and more than once."""
        self._process.kill()

    def run(self, tell: Callable[[float], None]) -> None:
        """Wait until it is done; `tell` hears how far it is, from 0 to 1.

        Raises PickleRefused, ChildFailed.
        """
        timer = self._timer(START_LIMIT_S)
        try:
            self._order()
            for answer in self._answers():
                if answer.get("error") == "system":
                    raise ChildFailed(answer["message"])
                if "error" in answer:
                    raise PickleRefused(answer["error"], answer["message"])
                if "done" in answer:
                    return
                if not self._started:
                    self._started = True
                    timer.cancel()
                    timer = self._timer(self._limit_s)
                tell(answer["fraction"])
            raise self._failure()
        finally:
            timer.cancel()
            self._end()

    def _timer(self, limit_s: float) -> threading.Timer:
        def give_up() -> None:
            self._late.set()
            self._process.kill()

        timer = threading.Timer(limit_s, give_up)
        timer.daemon = True
        timer.start()
        return timer

    def _order(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it ended already; its answer says why
            self._process.stdin.write(json.dumps(self._orders).encode("ascii") + b"\n")
            self._process.stdin.flush()

    def _answers(self) -> Any:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline(_ANSWER_BYTES):
            try:
                yield json.loads(line)
            except ValueError:
                raise ChildFailed("it gave an answer that is none") from None

    def _failure(self) -> Exception:
        """Its pipe has ended: how did it?"""
        status = self._process.wait()
        if not self._started:
            return ChildFailed(f"the process did not come up (exit status {status})")
        if self._late.is_set():
            return PickleRefused("time", f"it took longer than {self._limit_s:.0f} s")
        if was_killed(status):
            return ChildFailed("the process was killed")
        return PickleRefused("contents", f"the conversion crashed on it (exit status {status})")

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ZIP)) == _ZIP
