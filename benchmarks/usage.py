"""The ledger: what a million rows cost those who ask, and what a row costs the request it is of.

    python -m benchmarks.usage [--rows 1000000] [--keys 200] [--asks 20]

* asks: `GET /v1/usage` for a month, grouped in several ways, and `GET /v1/usage/requests`, through
  the app in one process over no connection, on a database that was filled in bulk;
* start: to read what was used before, as a server does when it starts;
* record: what a request waits for when it has ended, and what it costs to admit one, with and
  without quotas and credits;
* write: rows a second that reach the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.figures import percentile, table
from onebox.api.app import create_app
from onebox.bootstrap import Services, build_services
from onebox.core.logs import configure_logs
from onebox.core.settings import load_settings
from onebox.core.usage_units import UNITS
from onebox.services.access.caller import Allowance, Caller
from onebox.services.jobs.ids import new_id
from onebox.services.usage.usage import Amounts, Usage

ADMIN = {"authorization": "Bearer admin-key"}
DAYS = 30
MODELS = (
    ("chat", "smollm2"),
    ("chat", "qwen"),
    ("embeddings", "minilm"),
    ("transcription", "whisper"),
    ("text-to-image", "sd-turbo"),
)
COLUMNS = ("id", "at", "day", "caller", "task", "model", "status", "request_id", *UNITS)
RECORDS = 20_000
TARGET_MS = 200.0


def fill(path: Path, count: int, keys: int) -> tuple[str, str]:
    """Rows of the last days, and their sums. Returns the first and the last day."""
    chance = random.Random(1)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today - timedelta(days=n) for n in reversed(range(DAYS))]
    names = [day.strftime("%Y-%m-%d") for day in days]

    def rows() -> Any:
        for n in range(count):
            place = n * DAYS // count
            task, model = chance.choice(MODELS)
            ok = chance.random() < 0.97
            amounts = (int(ok), 200, 100, 50, 0, 0.0, 0.0, chance.random(), 0.01)
            caller = f"key:{chance.randrange(keys):08x}"
            status = "ok" if ok else "worker_lost"
            at = days[place].timestamp() + chance.random()
            yield f"use_{n:026d}", at, names[place], caller, task, model, status, "r", *amounts

    with sqlite3.connect(path) as database:
        marks = ",".join("?" * len(COLUMNS))
        database.executemany(f"INSERT INTO usage ({','.join(COLUMNS)}) VALUES ({marks})", rows())
        sums = ",".join(f"sum({unit})" for unit in UNITS)
        database.execute(
            f"INSERT INTO usage_days SELECT day, caller, task, model, "
            f"CASE status WHEN 'ok' THEN 'ok' ELSE 'failed' END AS class, count(*), {sums} "
            "FROM usage GROUP BY day, caller, task, model, class"
        )
    database.close()
    return names[0], names[-1]


async def timed(count: int, ask: Callable[[], Awaitable[None]]) -> list[float]:
    """Milliseconds of each."""
    await ask()
    found = []
    for _ in range(count):
        started = time.perf_counter()
        await ask()
        found.append((time.perf_counter() - started) * 1000)
    return found


async def asks(services: Services, first: str, last: str, count: int) -> list[list[str]]:
    month: dict[str, Any] = {"start": first, "end": last}
    questions: list[tuple[str, str, dict[str, Any]]] = [
        ("all in one sum", "/v1/usage", month),
        ("by day", "/v1/usage", {**month, "bucket": "day"}),
        ("by day and model", "/v1/usage", {**month, "bucket": "day", "group_by": "model"}),
        ("by key", "/v1/usage", {**month, "group_by": "key", "limit": 1000}),
        (
            "by day, key and model",
            "/v1/usage",
            {**month, "bucket": "day", "group_by": ["key", "model"], "limit": 1000},
        ),
        ("of one key, by day", "/v1/usage", {**month, "key": "key:00000001", "bucket": "day"}),
        ("single requests", "/v1/usage/requests", {"limit": 100}),
        ("those of one key", "/v1/usage/requests", {"limit": 100, "key": "key:00000001"}),
    ]
    transport = httpx2.ASGITransport(create_app(services))
    lines = []
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://localhost", headers=ADMIN
    ) as client:
        for name, path, params in questions:

            async def ask(path: str = path, params: dict[str, Any] = params) -> None:
                answer = await client.get(path, params=params)
                assert answer.status_code == 200, answer.text

            found = await timed(count, ask)
            worst = percentile(found, 0.99)
            ok = "yes" if worst <= TARGET_MS else "NO"
            shown = [f"{ms:.1f}" for ms in (min(found), percentile(found, 0.5), worst)]
            lines.append([name, *shown, ok])
    return lines


async def costs(services: Services) -> list[list[str]]:
    """Microseconds of each call on a request's way, and rows a second."""
    usage = services.usage
    amounts = Amounts(requests=1, prompt_tokens=200, completion_tokens=100, device_seconds=1)
    free = Caller("key:free", frozenset({"infer"}))
    bound = Caller("key:bound", frozenset({"infer"}), Allowance(daily={"requests": 10**9}))
    await usage.credits.set(bound.id, 10**9)

    def record() -> None:
        usage.ledger.record(
            Usage(new_id("use"), time.time(), "key:free", "chat", "m", "ok", "r", None, amounts)
        )

    lines = []
    for name, work in (
        ("admit, nothing is bounded", lambda: usage.quotas.hold(free, "chat", "m")),
        ("admit, quota and credits", lambda: usage.quotas.hold(bound, "chat", "m")),
        ("record", record),
    ):
        started = time.perf_counter()
        for _ in range(RECORDS):
            work()
        lines.append([name, f"{(time.perf_counter() - started) / RECORDS * 1e6:.1f} µs"])
    started = time.perf_counter()
    await usage.ledger.flush()
    lines.append(["write", f"{RECORDS / (time.perf_counter() - started):,.0f} rows/s"])
    started = time.perf_counter()
    await usage.upkeep.look(totals=True)
    lines.append(["read what was used before", f"{(time.perf_counter() - started) * 1000:.0f} ms"])
    return lines


async def measure(services: Services, first: str, last: str, count: int) -> None:
    lines = await asks(services, first, last, count)
    print(table(["GET of a month", "best ms", "p50 ms", "p99 ms", f"<= {TARGET_MS:.0f} ms"], lines))
    print(table(["step", "takes"], await costs(services)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--asks", type=int, default=20)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        configure_logs("WARNING", "console")
        settings = load_settings(
            root=Path(folder), data_dir=Path(folder), admin_keys=("admin-key",)
        )
        services = build_services(settings)
        started = time.perf_counter()
        first, last = fill(Path(folder) / "onebox.db", given.rows, given.keys)
        print(f"{given.rows:,} rows of {given.keys} keys in {time.perf_counter() - started:.0f} s")
        try:
            asyncio.run(measure(services, first, last, given.asks))
        finally:
            services.database.close()
            services.lock.release()


if __name__ == "__main__":
    main()
