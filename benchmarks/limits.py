"""What counting a request adds to it: nothing limited, in memory, in a Redis.

Microseconds of one `hit` after another, each of another of 10,000 callers, below its limit.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.figures import percentile, table
from onebox.core.settings import Settings
from onebox.services.access.caller import Caller
from onebox.services.access.limits.limits import create_rate_limits
from onebox.services.metrics import Metrics

CALLERS = 10_000
WARM = 2_000


def cases(redis: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names, and settings."""
    yield "off", {}
    for where, url in (("memory", None), ("Redis", redis)):
        if where == "memory" or url:
            given = {"limits_url": url} if url else {}
            yield f"{where}: requests", {"limits": "public", **given}
            yield (
                f"{where}: requests and tokens",
                {
                    "limits": "public",
                    "limit_tokens": 10**6,
                    **given,
                },
            )


async def times_us(settings: dict[str, Any], number: int) -> list[float]:
    limits = create_rate_limits(Settings(**settings), Metrics(lambda: []).access)
    callers = [Caller(f"key:{n}", frozenset({"infer"})) for n in range(CALLERS)]
    found = []
    for turn in range(WARM + number):
        caller = callers[turn % CALLERS]
        began = time.perf_counter()
        counted = await limits.hit(caller, None, "text")
        took = time.perf_counter() - began
        if counted.refused is not None:
            raise RuntimeError(counted.refused.message)
        if turn >= WARM:
            found.append(took * 1e6)
    await limits.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", metavar="URL", help="a Redis of no other use")
    parser.add_argument("--number", type=int, default=50_000, help="requests in a case")
    given = parser.parse_args()
    rows = []
    for name, settings in cases(given.redis):
        gc.collect()
        found = asyncio.run(times_us(settings, given.number))
        rows.append([name, *(f"{percentile(found, share):.1f}" for share in (0.5, 0.99))])
    print(table(["where", "p50 us", "p99 us"], rows))


if __name__ == "__main__":
    main()
