"""A process whose children write to a database, until each is killed in the middle."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

Tick = Callable[..., None]


def die_one_by_one(
    live: Callable[[Path, int, Callable[[], None]], Coroutine[Any, Any, None]],
    *,
    steps: int,
    longest_s: float,
    watch: Callable[[Tick], None] = lambda tick: None,
) -> None:
    """The process's arguments are FOLDER SEED DEATHS.

    Args:
        live: what a child does in the folder, its number, and what to call when it may die.
        steps: every other child dies at one of its first so many steps, the others at some moment.
        longest_s: that moment, at most.
        watch: has each further step call what it is given; commits and returns of a connection do.
    """
    folder, seed, deaths = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    event.listen(Engine, "checkout", _hurry)
    for number in range(deaths):
        at_step, after_s = chance.randrange(1, steps), chance.uniform(0.01, longest_s)
        child = os.fork()
        if child == 0:
            die = partial(_die_after, after_s) if number % 2 else partial(_die_at, at_step, watch)
            asyncio.run(live(folder, number, die))
            os._exit(3)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"child {number} ended by itself: {status}")


def _die_after(seconds: float) -> None:
    """By a signal that nothing of Python sees."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _die_at(step: int, watch: Callable[[Tick], None]) -> None:
    """Before or after something is written."""
    left = [step]

    def tick(*_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "commit", tick)
    event.listen(Engine, "checkin", tick)
    watch(tick)


def _hurry(connection: Any, *_: Any) -> None:
    # What is written outlives the process without it; only the machine would take it along.
    connection.execute("PRAGMA synchronous=OFF")
