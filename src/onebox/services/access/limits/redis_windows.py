"""Where several servers count together: a Redis. Imported when one is set."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from limits.aio.storage import RedisStorage
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

PREFIX = "onebox:limits"
MAX_CONNECTIONS = 32


def open_redis(url: str, timeout_s: float) -> tuple[RedisStorage, Callable[[], Awaitable[None]]]:
    """The storage, which connects when it is first used, and how to close it.

    Raises ValueError for a URL that is none of Redis'.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        # A connection that a Redis that was started again has forgotten is made anew, once.
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[ConnectionError],
    )
    # The library's own reading of URLs knows fewer of them.
    storage = RedisStorage(
        "async+redis://",
        wrap_exceptions=True,
        implementation="redispy",
        key_prefix=PREFIX,
        connection_pool=pool,  # type: ignore[arg-type]  # as the library's own documentation says
    )
    return storage, pool.aclose
