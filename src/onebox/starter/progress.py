"""How far a pull is: a bar in a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

import structlog

_log = structlog.get_logger(__name__)

_UNITS = ("B", "kB", "MB", "GB", "TB")
_BAR_CELLS = 24
_REDRAW_S = 0.1
_STEP_PERCENT = 10
_LINE_S = 5.0


def human_bytes(count: float) -> str:
    """98362432 → '98.4 MB'."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"


class Progress:
    """One thing after another, each from `begin` to `end`; `at` never goes back.

    The base class shows nothing.
    """

    def __init__(self) -> None:
        self.what = ""
        self.total = 0
        self.done = 0

    def begin(self, what: str, total_bytes: int) -> None:
        """`total_bytes` is 0 when nobody knows."""
        self.what, self.total, self.done = what, total_bytes, 0
        self._show(first=True)

    def expect(self, total_bytes: int) -> None:
        """How much it is, when that comes out later."""
        if not self.total:
            self.total = total_bytes
            self._show(first=True)

    def at(self, done_bytes: int) -> None:
        if done_bytes > self.done:
            self.done = min(done_bytes, self.total) if self.total else done_bytes
            self._show(first=False)

    def say(self, text: str) -> None:
        """Something worth a line of its own."""

    def end(self) -> None:
        """Nothing more to show of this one, finished or not."""

    def _show(self, *, first: bool) -> None:
        """Called whenever a number moved."""


class Bar(Progress):
    """Redrawn in place. The cursor rests at the line's start, so that another program's line does
    not begin in the middle.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._drawn_s = 0.0

    def say(self, text: str) -> None:
        self._write(f"\r\x1b[K{text}\n")

    def end(self) -> None:
        self._draw()
        self._write("\n")

    def _show(self, *, first: bool) -> None:
        now_s = time.monotonic()
        if first or now_s - self._drawn_s >= _REDRAW_S:
            self._drawn_s = now_s
            self._draw()

    def _draw(self) -> None:
        text = human_bytes(self.done)
        if self.total:
            share = self.done / self.total
            cells = int(share * _BAR_CELLS)
            bar = "█" * cells + "░" * (_BAR_CELLS - cells)
            text = f"{bar} {share:4.0%}  {text} of {human_bytes(self.total)}"
        self._write(f"\r\x1b[K{self.what}  {text}\r")

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "ascii"
        self._stream.write(text.encode(encoding, "replace").decode(encoding))
        self._stream.flush()


class LogLines(Progress):
    """For logs, where nothing can be redrawn: a line every tenth of the way, but not every moment.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._next = 0.0
        self._told_s = 0.0

    def say(self, text: str) -> None:
        _log.info(text)

    def _show(self, *, first: bool) -> None:
        if first:
            self._next = 0.0
        if not self.total or self.done < self._next * self.total:
            return
        now_s = self._clock()
        if not first and now_s - self._told_s < _LINE_S:
            return
        self._told_s = now_s
        percent = int(100 * self.done / self.total)
        self._next = (percent // _STEP_PERCENT + 1) * _STEP_PERCENT / 100
        _log.info("fetching a model", model=self.what, percent=percent, of=human_bytes(self.total))


def progress_for(stream: TextIO | None = None) -> Progress:
    """A bar where a person watches."""
    stream = stream or sys.stderr
    return Bar(stream) if stream.isatty() else LogLines()
