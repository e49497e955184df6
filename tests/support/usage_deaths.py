"""A process whose children count requests until each is killed in the middle.

`python -m tests.support.usage_deaths FOLDER SEED DEATHS`. What a child was told to be written it
notes in FOLDER/told before it goes on: the ids of rows, a line each.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from onebox.services.database import Database, sqlite_url
from onebox.services.jobs.ids import new_id
from onebox.services.usage.credits import Credits
from onebox.services.usage.holds import Holds
from onebox.services.usage.ledger import Counters, Ledger
from onebox.services.usage.prices import Prices
from onebox.services.usage.totals import Totals
from onebox.services.usage.usage import Amounts, Usage
from tests.support.deaths import die_one_by_one

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
    die_one_by_one(_live, steps=STEPS, longest_s=LONGEST_S)
