"""Rate limits whose minutes a test lets pass."""

from __future__ import annotations

from typing import Any

from onebox.core.settings import Settings
from onebox.services.access.limits.limits import Counted, RateLimits, create_rate_limits
from onebox.services.metrics import Metrics
from tests.support.clock import Clock

BEGIN_S = 6_000.0


class Limited:
    """Limits by settings, their clock and their metrics."""

    def __init__(self, clock: Clock | None = None, **settings: Any) -> None:
        self.clock = clock or Clock(BEGIN_S)
        self.metrics = Metrics(lambda: [])
        self.limits: RateLimits = create_rate_limits(
            Settings(**settings), self.metrics.access, self.clock
        )

    def hits(self, route_class: str, kind: str) -> float:
        return sample(
            self.metrics, f'rate_limit_hits_total{{kind="{kind}",route_class="{route_class}"}}'
        )


def sample(metrics: Metrics, name: str) -> float:
    """A value of the metrics' page; 0 where it has none."""
    for line in metrics.render().decode().splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    return 0.0


def told(counted: Counted) -> dict[str, str]:
    """The headers, without what all of them begin with."""
    return {
        name.decode().removeprefix("x-ratelimit-"): value.decode()
        for name, value in counted.headers
    }
