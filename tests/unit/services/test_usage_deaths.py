"""What is in the ledger when the server dies in the middle of things."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select

from onebox.services.tables import CREDITS, USAGE, USAGE_DAYS
from onebox.services.usage.credits import Credits
from tests.support.usage_deaths import AMOUNTS, CALLER, COST, TOLD, opened

DEATHS = 12
ROOT = Path(__file__).parents[3]
GIVEN = 1_000_000


@pytest.mark.skipif(os.name != "posix", reason="processes fork")
def test_rows_sums_and_charges_agree_however_often_it_is_killed(tmp_path):
    database = opened(tmp_path)
    asyncio.run(Credits(database).set(CALLER, GIVEN))
    database.close()
    command = [sys.executable, "-m", "tests.support.usage_deaths", tmp_path, 1, DEATHS]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "PYTHONPATH": path},
        cwd=ROOT,
        timeout=120,
        check=True,
    )
    told = (tmp_path / TOLD).read_text().split()
    assert len(told) == len(set(told)) > DEATHS
    asyncio.run(check(tmp_path, set(told)))


async def check(folder, told):
    database = opened(folder)
    stored = set(await database.read(lambda it: it.scalars(select(USAGE.c.id)).all()))
    assert told <= stored
    sums = select(func.sum(USAGE_DAYS.c.ended), func.sum(USAGE_DAYS.c.pictures))
    ended, pictures = await database.read(lambda it: it.execute(sums).one())
    assert (ended, pictures) == (len(stored), len(stored) * AMOUNTS.pictures)
    left = await database.read(lambda it: it.scalar(select(CREDITS.c.balance)))
    assert left == GIVEN - COST * len(stored)
    database.close()
