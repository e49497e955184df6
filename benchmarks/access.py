"""What keys, limits, quotas and credits add to an empty task, as a difference within one run.

    python -m benchmarks.access [--rounds 10] [--requests 300]

Two servers answer the same request to a dummy task in turns: one knows a static key and limits
nothing; the other has a stored key with an allow-list, rates, quotas and credits, and limits for
all classes of routes. Both keep their ledgers. Rounds alternate, so that what else the machine does
meets both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.figures import percentile, table
from benchmarks.raw_http import Connection, request_bytes, run_fast
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import ADMIN_KEY, API_KEY, Server, running_server

MANY = 10**9
PLUGIN = {"ONEBOX_PLUGINS": "tests.support.dummy_plugin", "LOG_LEVEL": "WARNING"}
LIMITED = {
    "ONEBOX_LIMITS": "public",
    "THROTTLE_RPM": str(MANY),
    "ONEBOX_LIMIT_TOKENS": str(MANY),
    "ONEBOX_DAILY_QUOTA": f"requests={MANY}",
}
LIMITS_OF_KEY = {
    "models": ["alpha"],
    "requests_per_minute": MANY,
    "tokens_per_minute": MANY,
    "max_concurrent": 1000,
    "daily": {"requests": MANY, "device_seconds": MANY},
    "monthly": {"requests": MANY},
}


def stored_key(server: Server) -> str:
    """A new key with every kind of limit, and a balance."""
    with server.client(ADMIN_KEY) as client:
        made = client.post("/v1/keys", json={"name": "measured", **LIMITS_OF_KEY})
        made.raise_for_status()
        answer = client.post(f"/v1/keys/{made.json()['id']}/credits", json={"set": MANY})
        answer.raise_for_status()
    return str(made.json()["key"])


async def measured(connection: Connection, request: bytes, count: int) -> list[float]:
    """Milliseconds of each answer, one after the other."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        answer = await connection.ask(request)
        times.append((time.perf_counter() - started) * 1000)
        assert answer.status == 200, answer
    return times


async def compare(plain: Server, limited: Server, rounds: int, requests: int) -> None:
    body = {"model": "alpha", "text": "x"}
    asked = []
    for server, key in ((plain, API_KEY), (limited, stored_key(limited))):
        address = urlsplit(server.url)
        connection = await Connection.open("127.0.0.1", address.port or 0)
        asked.append((connection, request_bytes("POST", "/v1/tasks/echo", body, key=key)))
    for connection, request in asked:
        await measured(connection, request, requests)
    times: list[list[float]] = [[], []]
    added = []
    for number in range(rounds):
        order = (0, 1) if number % 2 else (1, 0)
        medians = [0.0, 0.0]
        for which in order:
            found = await measured(*asked[which], requests)
            times[which] += found
            medians[which] = statistics.median(found)
        added.append(medians[1] - medians[0])
    rows = [
        [name, *(f"{percentile(values, share):.3f}" for share in (0.5, 0.9, 0.99))]
        for name, values in zip(("static key, no limits", "all on"), times, strict=True)
    ]
    print(table(("ms", "p50", "p90", "p99"), rows))
    print(
        f"added at p50: {statistics.median(added):.3f} ms "
        f"(rounds: {min(added):.3f} to {max(added):.3f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dummy_checkpoint(folder / "models" / "alpha")
        with (
            running_server(folder / "plain", folder / "models", **PLUGIN) as plain,
            running_server(folder / "limited", folder / "models", **PLUGIN, **LIMITED) as limited,
        ):
            run_fast(compare(plain, limited, given.rounds, given.requests))


if __name__ == "__main__":
    main()
