"""`LimitStore`: where requests are counted, and what happens when it does not answer."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import structlog

from onebox.core.errors import ConfigurationError
from onebox.services.metrics.access import AccessMetrics

if TYPE_CHECKING:
    from onebox.services.access.limits.windows import Windows

log = structlog.get_logger(__name__)

MEMORY = "memory://"
REDIS = ("redis://", "rediss://", "unix://")
# What a request waits for one answer of a store (it asks twice where the connection was lost), and
# how long a store that gave none is left alone: while it is away, one request in a second waits.
TIMEOUT_S = 0.25
PAUSE_S = 1.0

T = TypeVar("T")


class LimitStore:
    """The windows, made when they are first needed.

    Args:
        url: `memory://`, or a Redis'.
        now: seconds that only grow.
    """

    def __init__(
        self, url: str, metrics: AccessMetrics, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._metrics = metrics
        self._now = now
        self._windows: Windows | None = None
        self._is_away = False
        self._again_at = 0.0

    async def ask(self, work: Callable[[Windows], Awaitable[T]]) -> T | None:
        """What comes of it; None when the store gives no answer."""
        if self._is_away:
            if self._now() < self._again_at:
                return None
            # One asks whether it is back; no other waits for that.
            self._again_at = self._now() + PAUSE_S
        if self._windows is None:
            self._windows = self._open()
        if self._url == MEMORY:
            return await work(self._windows)
        from limits.errors import StorageError

        try:
            async with asyncio.timeout(2 * TIMEOUT_S):
                found = await work(self._windows)
        except (StorageError, OSError) as error:
            self._lost(error)
            return None
        if self._is_away:
            self._is_away = False
            log.warning("rate_limits_counted_again")
        return found

    def open(self) -> None:
        """Make the windows now; a Redis is connected to later.

        Raises ConfigurationError for a URL that cannot be used, without its password.
        """
        scheme, separator, _ = self._url.partition("://")
        # What has no scheme may be all secret.
        begin = f"begins with {scheme[:20]!r}" if separator else "does not begin with a scheme"
        if self._url != MEMORY and not self._url.startswith(REDIS):
            raise ConfigurationError(
                f"ONEBOX_LIMITS_URL {begin}; set {MEMORY}, or a Redis as in "
                "redis://host:6379/0, rediss://… or unix:///path"
            )
        if self._url != MEMORY and importlib.util.find_spec("redis") is None:
            raise ConfigurationError(
                f"ONEBOX_LIMITS_URL {begin}, and the package redis is not installed; "
                "pip install 'onebox[redis]'"
            )
        try:
            self._windows = self._open()
        except ValueError:
            raise ConfigurationError(
                f"ONEBOX_LIMITS_URL ({scheme}://…) cannot be read; write redis://host:6379/0, "
                "with what is special in a password as %XX"
            ) from None

    async def close(self) -> None:
        windows, self._windows = self._windows, None
        if windows is not None:
            await windows.close()

    def _open(self) -> Windows:
        from onebox.services.access.limits.windows import memory_windows, redis_windows

        if self._url == MEMORY:
            return memory_windows(self._now)
        return redis_windows(self._url, TIMEOUT_S)

    def _lost(self, error: Exception) -> None:
        self._again_at = self._now() + PAUSE_S
        self._metrics.limit_store_failed()
        if not self._is_away:
            self._is_away = True
            # Not its text, which may hold the URL.
            log.error(
                "rate_limit_store_gives_no_answer", error=type(error.__cause__ or error).__name__
            )
