"""A process whose children count requests until each is killed in the middle.

`python -m tests.support.usage_deaths FOLDER SEED DEATHS`. What a child was told to be written it
notes in FOLDER/told before it goes on: the ids of rows, a line each.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from onebox.services.database import Database, sqlite_url
from onebox.services.jobs.ids import new_id
from onebox.services.usage.credits import Credits
from onebox.services.usage.holds import Holds
from onebox.services.usage.ledger import Counters, Ledger
from onebox.services.usage.prices import Prices
from onebox.services.usage.totals import Totals
from onebox.services.usage.usage import Amounts, Usage

TOLD = "told"
CALLER = "key:1"
# A child dies at one of its first so many commits and returns of a connection, or at some moment.
STEPS = 60
LONGEST_S = 0.15
MOST_AT_ONCE = 700
AMOUNTS = Amounts(requests=1, prompt_tokens=3, pictures=2)
PRICES = {"pictures": 0.5}
COST = 1.0


def opened(folder: Path) -> Database:
    return Database(sqlite_url(folder / "onebox.db"))


def main() -> None:
    folder, seed, deaths = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    event.listen(Engine, "checkout", _hurry)
    for number in range(deaths):
        at_step, after_s = chance.randrange(1, STEPS), chance.uniform(0.01, LONGEST_S)
        child = os.fork()
        if child == 0:
            die = partial(_die_after, after_s) if number % 2 else partial(_die_at, at_step)
            asyncio.run(_live(folder, number, die))
            os._exit(3)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"child {number} ended by itself: {status}")


def _die_after(seconds: float) -> None:
    """By a signal that nothing of Python sees."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _die_at(step: int) -> None:
    """Before or after something is committed."""
    left = [step]

    def tick(*_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "commit", tick)
    event.listen(Engine, "checkin", tick)


def _hurry(connection: Any, *_: Any) -> None:
    # What is written outlives the process without it; only the machine would take it along.
    connection.execute("PRAGMA synchronous=OFF")


async def _live(folder: Path, number: int, die: Callable[[], None]) -> None:
    database, chance = opened(folder), random.Random(number)
    counters = Counters(Totals(), Credits(database), Holds())
    ledger = Ledger(database, counters, Prices(PRICES), gather_s=0.0)
    told = os.open(folder / TOLD, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(group: Sequence[Usage]) -> None:
        os.write(told, "".join(f"{usage.id}\n" for usage in group).encode())

    ledger.listeners.append(note)
    die()
    await ledger.start()
    while True:
        for _ in range(chance.randrange(MOST_AT_ONCE)):
            usage = Usage(new_id("use"), time.time(), CALLER, "t", "m", "ok", "r", None, AMOUNTS)
            ledger.record(usage)
        await asyncio.sleep(0.005)


if __name__ == "__main__":
    main()
