"""`Backend`: one URL of the operator's backend, asked so that a bad one does little harm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
import structlog

from onebox.services.hooks.answers import BadCaller
from onebox.services.outgoing.breaker import CircuitBreaker, CircuitOpen
from onebox.services.outgoing.client import BadAnswer, read_answer
from onebox.services.outgoing.retrying import (
    BadStatus,
    RetryPolicy,
    check_status,
    may_be_retried,
    retry_after_of,
    with_retries,
)

if TYPE_CHECKING:
    import httpx2

    from onebox.services.metrics.hooks import HookMetrics

log = structlog.get_logger(__name__)

HookName = Literal["auth_verify", "credit_check"]
Outcome = Literal["answered", "refused", "failed", "left_alone", "cancelled"]

# Requests to one hook at a time, so that many unknown tokens do not become a flood.
CONCURRENCY = 16
MAX_ANSWER_BYTES = 64 * 1024
RETRY_S = 5.0
JSON = "application/json"
T = TypeVar("T")


class NoAnswer(Exception):
    """The backend said nothing that can be used; `retry_after_s` is when to ask again."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("no answer")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Asked:
    """What a backend is asked.

    Attributes:
        body: sent as JSON; None: there is none.
        headers: beside those of the client.
        query: put behind the URL.
    """

    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    method: Literal["GET", "POST"] = "POST"
    query: Mapping[str, str] | None = None


class Backend:
    """Lives on the gateway's event loop.

    Args:
        client: sends the operator's key with each request; closed with the backend.
        no: statuses that are answers too: they say no.
        policy: how often a question is put again.
        timeout_s: of one try, none of which is cut short: `policy.max_total_s` bounds when the
            last one begins.
        concurrency: requests at a time.
    """

    def __init__(
        self,
        name: HookName,
        url: str,
        client: httpx2.AsyncClient,
        metrics: HookMetrics,
        *,
        no: Collection[int],
        policy: RetryPolicy,
        timeout_s: float,
        breaker: CircuitBreaker,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self.name = name
        self._url = url
        # Not the whole URL, which may hold a secret.
        self._host = urlsplit(url).netloc
        self._client = client
        self._metrics = metrics
        self._no = frozenset(no)
        self._policy = policy
        self._timeout_s = timeout_s
        self._breaker = breaker
        self._slots = asyncio.Semaphore(concurrency)

    async def ask(self, asked: Asked, read: Callable[[bytes], T]) -> T | None:
        """What `read` makes of the answer; None when its status says no. Raises NoAnswer.

        `read` may raise BadAnswer.
        """
        began = time.perf_counter()
        outcome: Outcome = "failed"
        try:
            answer = await with_retries(lambda: self._attempt(asked, read), self._policy)
            outcome = "refused" if answer is None else "answered"
            return answer
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except CircuitOpen as error:
            outcome = "left_alone"
            raise NoAnswer(error.retry_after_s) from None
        except Exception as error:
            if not (isinstance(error, BadAnswer) or _is_of_network(error)):
                raise
            raise NoAnswer(retry_after_of(error) or RETRY_S) from None
        finally:
            self._metrics.asked(self.name, outcome, time.perf_counter() - began)

    def remembered(self) -> None:
        """What would have been asked was answered from memory."""
        self._metrics.remembered(self.name)

    async def close(self) -> None:
        await self._client.aclose()

    async def _attempt(self, asked: Asked, read: Callable[[bytes], T]) -> T | None:
        until = asyncio.get_running_loop().time() + self._timeout_s
        async with asyncio.timeout_at(until):
            await self._slots.acquire()
        try:
            with self._breaker.passage(_is_failure):
                return await self._answered(asked, read, until)
        finally:
            self._slots.release()

    async def _answered(self, asked: Asked, read: Callable[[bytes], T], until: float) -> T | None:
        try:
            # In the passage of the breaker, for which a cancelled try tells nothing.
            async with asyncio.timeout_at(until):
                return await self._exchange(asked, read)
        except Exception as error:
            log.warning("hook_failed", hook=self.name, host=self._host, reason=_reason(error))
            raise

    async def _exchange(self, asked: Asked, read: Callable[[bytes], T]) -> T | None:
        headers = {"Accept": JSON, **asked.headers}
        body = None
        if asked.body is not None:
            headers["Content-Type"] = JSON
            body = msgspec.json.encode(asked.body)
        async with self._client.stream(
            asked.method, self._url, content=body, headers=headers, params=asked.query
        ) as response:
            if response.status_code in self._no:
                return None
            check_status(response.status_code, response.headers)
            return read(await read_answer(response, max_bytes=MAX_ANSWER_BYTES))


def _is_of_network(error: Exception) -> bool:
    import httpx2

    return isinstance(error, httpx2.TransportError | TimeoutError)


def _is_failure(error: Exception) -> bool:
    """Whether it speaks of the backend, and not of what it was asked."""
    is_about_request = isinstance(error, BadCaller) or (
        isinstance(error, BadStatus) and error.status < 500
    )
    return may_be_retried(error) or not is_about_request


def _reason(error: Exception) -> str:
    """Without the URL, which errors of the client may quote."""
    return str(error) if isinstance(error, BadAnswer) else type(error).__name__
