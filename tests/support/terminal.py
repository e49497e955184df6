"""A person at a terminal: a command under test behind a pseudo-terminal."""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import subprocess
import sys
import time
from typing import Self

from tests.support.server import ROOT

PATIENCE_S = 120.0
CTRL_C, CTRL_D = b"\x03", b"\x04"
# A session of its own whose terminal is stdin: Ctrl-C is then the terminal's to send. Whoever runs
# the tests in the background may have them ignore it.
START = """
import fcntl, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
from onebox.cli import main
main(sys.argv[1:])
"""


class Terminal:
    """A person's side of a pseudo-terminal, in which `onebox` runs with these arguments.

    `settings` are environment variables.
    """

    def __init__(self, *arguments: str, **settings: str) -> None:
        self._ours, theirs = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "TERM": "dumb", **settings},
        )
        os.close(theirs)
        self.seen = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._read_chars = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def type(self, text: bytes) -> None:
        os.write(self._ours, text)

    def press_until(self, key: bytes, text: str) -> None:
        """Python's `input` misses a Ctrl-C that comes just before it waits; a person repeats it."""
        for _ in range(int(PATIENCE_S)):
            self.type(key)
            with contextlib.suppress(AssertionError):
                self.wait_for(text, 1.0)
                return
        raise AssertionError(f"{text!r} did not come; there is {self.seen!r}")

    def wait_for(self, text: str, patience_s: float = PATIENCE_S) -> None:
        """Until the text appears after what was waited for before."""
        deadline = time.monotonic() + patience_s
        while (at := self.seen.find(text, self._read_chars)) < 0:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self._ours], [], [], left_s)[0]:
                raise AssertionError(f"{text!r} did not come; there is {self.seen!r}")
            self.seen += self._decoder.decode(os.read(self._ours, 4096))
        self._read_chars = at + len(text)

    def say(self, message: str) -> None:
        self.type(message.encode() + b"\n")
