"""Where several servers count together: a Redis. Imported when one is set."""

from __future__ import annotations

import time

from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.bridge import RedisBridge
from limits.errors import StorageError
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from onebox.services.access.limits.windows import WINDOW_S, Seen, Tokens, Windows

PREFIX = "onebox:limits"
MAX_CONNECTIONS = 32
NO_LIMIT = -1
# What a request needs to know, by one way to Redis and back, and nobody counts in between. The
# functions are the library's own scripts, which take their globals as arguments here.
# Keys: of the requests, of the tokens before and now; arguments: the time, seconds of a window, and
# both limits.
SCRIPT = """
local now, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local requests, tokens = tonumber(ARGV[3]), tonumber(ARGV[4])
local over, counts, oldest, number = '', {0, 0, 0, 0}, '', 0
if tokens >= 0 then
    local found = sliding_window({KEYS[2], KEYS[3]}, {window})
    for place = 1, 4 do
        counts[place] = math.max(0, tonumber(found[place] or 0))
    end
    if math.ceil(counts[1] * counts[2] / (window * 1000)) + counts[3] >= tokens then
        over = 'tokens'
    end
end
if requests >= 0 then
    local found = moving_window({KEYS[1]}, {now - window, requests})
    if found then
        oldest, number = found[1], found[2]
    end
    if over == '' and not acquire({KEYS[1]}, {ARGV[1], requests, window, 1}) then
        over = 'requests'
    end
end
return {over, counts[1], counts[2], counts[3], counts[4], oldest, number}
"""


class RedisWindows(Windows):
    """Those of several servers. Raises ValueError for a URL that is none of Redis'."""

    def __init__(self, url: str, timeout_s: float) -> None:
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
        storage = _Storage(
            "async+redis://",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix=PREFIX,
            connection_pool=pool,  # type: ignore[arg-type]  # as the library's own documentation says
        )
        # By the machine's clock, which is the same for all who count together.
        super().__init__(storage, time.time, pool.aclose)
        self._keys_of = storage.keys_of
        self._look_once = Redis(connection_pool=pool).register_script(_script_of(storage.bridge))

    async def look(
        self, item: RateLimitItem | None, request_key: str, token_key: str, tokens: int | None
    ) -> Seen:
        requests, now = NO_LIMIT if item is None else item.amount, time.time()
        keys = self._keys_of(request_key if item is None else item.key_for(request_key), token_key)
        limits = (requests, NO_LIMIT if tokens is None else tokens)
        try:
            found = await self._look_once(keys, (now, WINDOW_S, *limits))
        except RedisError as error:
            raise StorageError(error) from error
        over, before, before_left_ms, current, current_left_ms, oldest, number = found
        return Seen(
            over=over.decode() or None,
            oldest=float(oldest or now),
            requests=number,
            tokens=Tokens(before, before_left_ms / 1000, current, current_left_ms / 1000),
        )


class _Storage(RedisStorage):
    def keys_of(self, moving_key: str, token_key: str) -> list[str]:
        """The keys that the library has for a moving window and for a sliding one."""
        sliding = (self._previous_window_key(token_key), self._current_window_key(token_key))
        return [self.bridge.prefixed_key(key) for key in (moving_key, *sliding)]


def _script_of(bridge: RedisBridge) -> str:
    own = {
        "sliding_window": bridge.SCRIPT_SLIDING_WINDOW,
        "moving_window": bridge.SCRIPT_MOVING_WINDOW,
        "acquire": bridge.SCRIPT_ACQUIRE_MOVING_WINDOW,
    }
    functions = (
        f"local function {name}(KEYS, ARGV)\n{script.decode()}\nend\n"
        for name, script in own.items()
    )
    return "".join(functions) + SCRIPT
