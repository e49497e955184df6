"""Hooks against a backend on this machine, with a time that tests move by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from onebox.core.errors import BackendUnavailable, Unauthorized
from onebox.services.access.caller import Caller
from onebox.services.hooks.backend import Backend as Asker
from onebox.services.hooks.backend import HookName
from onebox.services.hooks.credits import CreditCheck
from onebox.services.hooks.shapes import OwnCredits, OwnVerify
from onebox.services.hooks.verification import Verification
from onebox.services.metrics.hooks import HookMetrics
from onebox.services.metrics.page import Page
from onebox.services.outgoing.breaker import CircuitBreaker
from onebox.services.outgoing.client import create_http_client
from onebox.services.outgoing.retrying import RetryPolicy
from tests.unit.services.patience import Time

T = TypeVar("T")
KEY = "the-key-of-the-operator"
TOKEN = "eyJ-the.token-of.a-user"
FAILURES = 5
OPEN_S = 10.0
SECONDS = 30.0


class Hooked:
    """A server's hooks to one URL.

    Tries wait by moving `time`; one that is never answered takes `timeout_s` of real time.
    """

    def __init__(
        self, url: str, *, timeout_s: float = 60.0, wait_s: float = 80.0, **given: Any
    ) -> None:
        self.url = url
        self.time = Time()
        self.page = Page()
        self.metrics = HookMetrics(self.page)
        self.timeout_s = timeout_s
        self.wait_s = wait_s
        self.given = {"seconds": SECONDS, "clock": self.time.clock, **given}

    def asker(self, name: HookName, no: tuple[int, ...]) -> Asker:
        client = create_http_client(read_s=60.0, headers={"X-Onebox-Key": KEY})
        policy = RetryPolicy(
            max_total_s=self.wait_s - self.timeout_s,
            sleep=self.time.sleep,
            clock=self.time.clock,
            chance=lambda: 0.5,
        )
        self.breaker = CircuitBreaker(
            failures=FAILURES,
            open_s=OPEN_S,
            clock=self.time.clock,
            changed=lambda state: self.metrics.circuit(name, state),
        )
        return Asker(
            name,
            self.url,
            client,
            self.metrics,
            no=no,
            policy=policy,
            timeout_s=self.timeout_s,
            breaker=self.breaker,
            concurrency=4,
        )

    @asynccontextmanager
    async def verification(self) -> AsyncIterator[Verification]:
        shape = self.given.get("shape", OwnVerify())
        made = Verification(self.asker("auth_verify", shape.no), **self.given)
        try:
            yield made
        finally:
            await made.close()

    @asynccontextmanager
    async def credits(self) -> AsyncIterator[CreditCheck]:
        shape = self.given.get("shape", OwnCredits())
        made = CreditCheck(self.asker("credit_check", shape.no), **self.given)
        try:
            yield made
        finally:
            await made.close()

    def verify(self, work: Callable[[Verification], Awaitable[T]]) -> T:
        async def run() -> T:
            async with self.verification() as made:
                return await work(made)

        return asyncio.run(run())

    def check(self, work: Callable[[CreditCheck], Awaitable[T]]) -> T:
        async def run() -> T:
            async with self.credits() as made:
                return await work(made)

        return asyncio.run(run())

    def count(self, hook: str, outcome: str) -> float:
        line = f'onebox_hook_requests_total{{hook="{hook}",outcome="{outcome}"}} '
        found = [row for row in self.page.render().decode().splitlines() if row.startswith(line)]
        return float(found[0].removeprefix(line)) if found else 0.0


def ask(hooked: Hooked, token: str = TOKEN) -> Caller:
    return hooked.verify(lambda made: made.verify(token))


async def is_refused(made: Verification, token: str = TOKEN) -> bool:
    try:
        await made.verify(token)
    except Unauthorized:
        return True
    return False


async def retry_after(made: Verification, token: str = TOKEN) -> float:
    with pytest.raises(BackendUnavailable) as caught:
        await made.verify(token)
    return caught.value.retry_after_s
