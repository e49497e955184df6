"""Child processes of set-up: run one and keep the end of its errors, or become another program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from typing import Callable, NamedTuple, NoReturn, Sequence

COMMAND_NOT_FOUND = 127
_KEPT_LINES = 40


class Outcome(NamedTuple):
    """How a command ended, with the last lines it wrote (errors when streamed, else all output)."""

    code: int
    text: str

    @property
    def ok(self) -> bool:
        return self.code == 0


Runner = Callable[[Sequence[str]], Outcome]


def stream(command: Sequence[str]) -> Outcome:
    """Run for minutes in front of a person: output goes to our stderr, so stdout stays clean."""
    try:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return Outcome(COMMAND_NOT_FOUND, str(error))
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    assert child.stderr is not None
    for line in child.stderr:
        sys.stderr.write(line)
        kept.append(line)
    return Outcome(child.wait(), "".join(kept))


def ask(command: Sequence[str], timeout_s: float = 30) -> Outcome:
    """Run a short question and return its answer; a missing or hanging program just fails."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Outcome(COMMAND_NOT_FOUND, str(error))
    return Outcome(done.returncode, done.stdout)


def become(command: Sequence[str]) -> NoReturn:
    """Go on as another program. Signals then reach it directly and no parent lingers."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "nt":  # there execv returns to the shell at once and orphans the new process
        sys.exit(_wait_for(command))
    os.execv(command[0], list(command))


def _wait_for(command: Sequence[str]) -> int:
    """Ctrl-C reaches every process of a console, so the parent only has to outlive the child."""
    child = subprocess.Popen(list(command))
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue
