"""An upstream client and a server that stands in for its provider, and what comes of a request."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from onebox.core.contracts import Entry, Priority
from onebox.core.errors import AppError
from onebox.core.media import Spool
from onebox.core.plugins import TASKS, load_plugins
from onebox.core.results import Artifact
from onebox.core.settings_upstreams import Upstream
from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.wire import Delta, Event, Failed, Result, Submit
from onebox.services.outgoing.breaker import CircuitBreaker
from onebox.services.outgoing.retrying import RetryPolicy
from onebox.services.upstreams import creation, gemini
from onebox.services.upstreams.client import UpstreamClient
from onebox.services.upstreams.connection import Connection
from tests.support.stand_in import StandIn

KEY = "sk-a-secret-that-nobody-may-see-0123456789"


@dataclass
class Told:
    """What came of a request: its events, and the waits before further tries."""

    events: list[Event] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    @property
    def error(self) -> AppError:
        end = self.events[-1]
        assert isinstance(end, Failed), end
        return end.to_error()

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        end = self.events[-1]
        assert isinstance(end, Result), end
        return end.artifacts

    @property
    def value(self) -> Any:
        (artifact,) = self.artifacts
        return msgspec.json.decode(artifact.data or b"")

    @property
    def deltas(self) -> list[dict[str, Any]]:
        return [event.data for event in self.events if isinstance(event, Delta)]


class Asker:
    """Asks a stand-in as one kind of upstream."""

    def __init__(self, folder: Path, server: StandIn, kind: str, **settings: Any) -> None:
        load_plugins()
        model = {"model": settings.pop("model", "far"), **settings.pop("about", {})}
        base_url = server.url + settings.pop("path", "")
        self.upstream = Upstream(
            name="box", kind=kind, base_url=base_url, models={"near": model}, **settings
        )
        self.waits: list[float] = []
        self.ends: list[str] = []
        self.breaker = CircuitBreaker(clock=lambda: 0.0)

        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)

        policy = RetryPolicy(retries=self.upstream.retries, sleep=sleep, chance=lambda: 0.5)
        header = gemini.KEY_HEADER if kind == "gemini" else "Authorization"
        connection = Connection(
            self.upstream, KEY, key_header=header, policy=policy, breaker=self.breaker
        )
        self.client = UpstreamClient(
            -1,
            Spool(folder / "spool"),
            MemoryPools(lambda _: None),
            connection,
            creation._adapter(self.upstream),
            max_concurrent=self.upstream.max_concurrent,
            ended=self.ends.append,
        )

    def frame(
        self,
        task: str,
        *,
        timeout_s: float = 60.0,
        caller: str = "key:1",
        priority: Priority = "interactive",
        **given: Any,
    ) -> Submit:
        entry = Entry(
            "k", "near", "", "", 0, "ready", upstream="box",
            facts={"model": self.upstream.models["near"].model,
                   "parameters": self.upstream.models["near"].parameters},
        )  # fmt: skip
        values = TASKS[task].Input(**given).model_dump()
        return Submit(secrets.token_hex(4), task, entry, values, caller, priority, timeout_s, 0)

    async def ask(self, task: str, *, only_end: bool = False, **given: Any) -> Told:
        told = Told(waits=self.waits)
        frame = self.frame(task, **given)
        async with self.client.submit(frame, only_end=only_end) as exchange:
            async for event in exchange:
                told.events.append(event)
        return told


Scene = Callable[[StandIn, Callable[..., Asker]], Awaitable[Any]]


def play(folder: Path, *replies: Any, scene: Scene) -> Any:
    """Run a scene with a server that gives these replies, and a maker of askers for it."""

    async def played() -> Any:
        askers: list[Asker] = []
        async with StandIn(*replies) as server:

            def create(kind: str = "openai", **settings: Any) -> Asker:
                askers.append(Asker(folder, server, kind, **settings))
                return askers[-1]

            try:
                return await scene(server, create)
            finally:
                for asker in askers:
                    await asker.client.close(0)

    async def limited() -> Any:
        # Only a test that would hang waits so long.
        async with asyncio.timeout(120):
            return await played()

    return asyncio.run(limited())
