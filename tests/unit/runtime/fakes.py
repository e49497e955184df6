"""Weights that are numbers, and a clock that stands still."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from onebox.core.contracts import Device, Entry
from onebox.runtime.cache import BundleCache
from onebox.runtime.share import Share
from onebox.runtime.slot import OnLoading, Want
from onebox.runtime.wire import Grant

CPU = Device("cpu", "cpu", "A CPU", "cpu", "host", 32, 24, "float32", "float32")
BUDGET = 100
LEAK_LIMIT = 20


def entry(name: str, **overrides: object) -> Entry:
    return Entry(name, name, f"/m/{name}", "", 1, "ready", family="fake", overrides=overrides)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeBundle:
    name: str
    size_bytes: int
    closed: bool = False

    def close(self) -> None:
        assert not self.closed
        self.closed = True


@dataclass
class Weights:
    """What is on disk. `sizes` are what a load measures; a name in `broken` fails to load.

    `leaked` is held beside the bundles.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    broken: dict[str, BaseException] = field(default_factory=dict)
    loaded: list[FakeBundle] = field(default_factory=list)
    freed: int = 0
    leaked: int = 0
    before: Callable[[str], None] = lambda name: None
    on_free: Callable[[], None] = lambda: None

    def load(self, item: Entry) -> FakeBundle:
        self.before(item.name)
        if item.name in self.broken:
            raise self.broken[item.name]
        self.loaded.append(FakeBundle(item.name, self.sizes.get(item.name, 40)))
        return self.loaded[-1]

    def free(self) -> None:
        self.freed += 1
        self.on_free()

    def held(self) -> int:
        alive = sum(bundle.size_bytes for bundle in self.loaded if not bundle.closed)
        return self.leaked + alive

    def names(self) -> list[str]:
        return [bundle.name for bundle in self.loaded]


def create_share(share_bytes: int = BUDGET, pool_bytes: int = BUDGET) -> Share:
    """The share of a worker that nobody gives more to."""
    share = Share(lambda claim: None, wait_s=0)
    share.on_grant(Grant(share_bytes, pool_bytes))
    return share


def create_cache(
    weights: Weights, clock: Clock, share: Share | None = None, **options: float
) -> BundleCache:
    timeouts = {"lease_timeout_s": 10.0, "idle_timeout_s": 60.0, "poll_s": 0.001, **options}
    return BundleCache(
        share or create_share(),
        weights.load,
        weights.free,
        held_bytes=weights.held,
        leak_limit_bytes=LEAK_LIMIT,
        clock=clock,
        **timeouts,
    )


def want(
    item: Entry,
    estimate: int = 40,
    reserve: int = 0,
    check: Callable[[], None] = lambda: None,
    loading: OnLoading = lambda fraction, size_bytes=None: None,
) -> Want:
    return Want(item, estimate, reserve, check, loading)
