"""Services of a server without workers, for routes that need some."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from onebox.core.contracts import Device, Entry
from onebox.core.errors import ModelNotFound
from onebox.runtime.wire import BundleStats, Hello, Loading, WorkerStats
from onebox.services.residency import Loaded

DEVICE = Device("cpu", "cpu", "A CPU", "cpu", "host", 4000, 3000, "float32", "float32")


def entry(name: str, **facts: Any) -> Entry:
    given = {
        "key": f"key-{name}",
        "path": f"/models/{name}",
        "extension": "",
        "size_bytes": 10,
        "status": "ready",
        "sha256": "ab" * 32,
        "family": "f",
        "tasks": ("text-to-image",),
        **facts,
    }
    return Entry(name=name, **given)


class Models:
    """Registry and catalogue of some names. `aliases` are further names of entries."""

    def __init__(self, *names: str, **aliases: str) -> None:
        self._entries = {name: entry(name) for name in names}
        self._entries |= {alias: self._entries[name] for alias, name in aliases.items()}

    def entries(self, allowed: None = None) -> list[Entry]:
        return list(self._entries.values())

    def resolve(self, name: str, allowed: Any = None, *, task: str | None = None) -> Entry:
        if name not in self._entries:
            raise ModelNotFound(f"no model {name}", param="model")
        return self._entries[name]

    async def listed(self, name: str) -> Entry:
        return self.resolve(name)


class Residency:
    """Loads in two steps, or fails; notes what it was asked."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.failure = failure

    async def load(self, model, *, caller, timeout_s=None):
        self.asked.append(("load", model.name, timeout_s))
        yield Loading("1", 0.5)
        if self.failure:
            raise self.failure
        yield Loading("1", 1.0, 123)
        yield Loaded(model, "cpu", 123, 0.25)

    async def unload(self, model, *, force):
        self.asked.append(("unload", model.name, force))
        if self.failure:
            raise self.failure
        return True


def bundle(name: str, **facts: Any) -> BundleStats:
    given = {
        "key": f"key-{name}",
        "family": "f",
        "state": "ready",
        "size_bytes": 100,
        "reserved_bytes": 0,
        "leases": 0,
        "pinned": False,
        **facts,
    }
    return BundleStats(name=name, **given)


def worker(*bundles: BundleStats, **facts: Any) -> SimpleNamespace:
    """A worker's client that is up."""
    stats = WorkerStats(
        bundles=bundles,
        waiting=0,
        running=0,
        budget_bytes=400,
        device_used_bytes=50,
        device_free_bytes=60,
        resident_bytes=70,
        returned_bytes=8,
        leaked_bytes=9,
    )
    given = {
        "index": 0,
        "state": "ready",
        "reason": "",
        "lives": 1,
        "hello": Hello(1, DEVICE, (DEVICE,), 1000, 1),
        "last_stats": stats,
        **facts,
    }
    return SimpleNamespace(**given)


class Pool:
    def __init__(self, *clients: SimpleNamespace) -> None:
        self.clients = list(clients)

    def ready(self) -> list[SimpleNamespace]:
        return [client for client in self.clients if client.state == "ready"]

    def reasons(self) -> list[str]:
        return [client.reason for client in self.clients if client.reason]

    def devices(self) -> list[Device]:
        return [client.hello.device for client in self.ready()]


class Pools:
    """One pool of 1000 bytes, of which each worker has 400."""

    def limit_bytes(self, name: str) -> int:
        return 1000

    def share_of(self, client: SimpleNamespace) -> int:
        return 400
