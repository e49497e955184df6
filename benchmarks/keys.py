"""What stored keys cost: a look-up among many, the start, a change by another server.

Run: python benchmarks/keys.py [--keys 10000]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from onebox.services.access.caller import Allowance
from onebox.services.access.keys import rows as key_rows
from onebox.services.access.keys.index import digest_of
from onebox.services.access.keys.keys import PREFIX, SHOWN_CHARS, Keys
from onebox.services.access.keys.rows import StoredKey
from onebox.services.database import Database, sqlite_url
from onebox.services.jobs.ids import new_id

LOOKUPS = 20_000
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=10_000)
    count = parser.parse_args().keys
    with tempfile.TemporaryDirectory() as folder:
        database = Database(sqlite_url(Path(folder) / "onebox.db"))
        secrets = [f"ob-{random.randbytes(32).hex()}" for _ in range(count)]
        database.write_now(lambda connection: _fill(connection, secrets))
        keys = Keys(database)
        print(f"{count} keys")
        print(f"read at the start    {_timed(keys.load) * 1e3:8.1f} ms")
        find = keys.index.find
        wanted = random.choices(secrets, k=LOOKUPS)
        _report("look-up, known", [_timed(lambda key=key: find(key)) for key in wanted])
        _report("look-up, unknown", [_timed(lambda key=key: find(key + "x")) for key in wanted])
        looks = [_timed(lambda: asyncio.run(keys.refresh())) for _ in range(REPEATS)]
        print(f"nothing has changed  {min(looks) * 1e3:8.1f} ms a second")
        uses = [_timed(lambda: asyncio.run(keys._note_uses(every_s=0.0)))]
        print(f"uses noted           {min(uses) * 1e3:8.1f} ms a minute, all keys used")
        database.close()


def _fill(connection, secrets: list[str]) -> None:
    for secret in secrets:
        key_rows.add(
            connection,
            StoredKey(
                id=new_id(PREFIX),
                name="bench",
                prefix=secret[:SHOWN_CHARS],
                digest=digest_of(secret),
                scopes=frozenset({"infer"}),
                allowance=Allowance(models=("tiny-*",), requests_per_minute=60),
                created_at=time.time(),
            ),
        )


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _report(what: str, seconds: list[float]) -> None:
    seconds.sort()
    middle, high = statistics.median(seconds), seconds[int(len(seconds) * 0.99)]
    print(f"{what:<20} {middle * 1e6:8.1f} µs p50, {high * 1e6:.1f} µs p99")


if __name__ == "__main__":
    main()
