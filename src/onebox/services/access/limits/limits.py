"""`RateLimits`: how much one client may ask for in a minute."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from onebox.core.errors import AppError, BackendUnavailable, RateLimited
from onebox.core.settings import Settings
from onebox.services.access.caller import Caller
from onebox.services.access.limits.headers import Headers, Kind, Standing, limit_headers
from onebox.services.access.limits.rules import ALL, FAILED, Allowed, LimitRules, limit_rules
from onebox.services.access.limits.store import MEMORY, PAUSE_S, LimitStore
from onebox.services.metrics.access import AccessMetrics

TOKENS = "tokens"
CALLER = "caller"
# One line of a home has as many addresses as it likes in this.
IPV6_PREFIX = 64


@dataclass(frozen=True, slots=True)
class Counted:
    """What came of counting a request.

    Attributes:
        headers: what its answer says about the limits, whether it is refused or not.
        refused: why it may not go on, if it may not.
    """

    headers: Headers = ()
    refused: AppError | None = None


NOTHING = Counted()


class RateLimits:
    """Counts the requests and tokens of callers, and of addresses where there is no caller.

    Where nothing is limited, nothing is counted.

    Args:
        is_open: whether requests are let in while the store gives no answer.
    """

    def __init__(
        self, rules: LimitRules, store: LimitStore, metrics: AccessMetrics, *, is_open: bool = True
    ) -> None:
        self._rules = rules
        self._store = store
        self._metrics = metrics
        self._is_open = is_open
        # From when on somebody has a limit on them.
        self._counts_tokens = rules.tokens is not None
        self._adding: set[asyncio.Task[None]] = set()

    async def hit(
        self, caller: Caller | None, address: str | None, route_class: str | None
    ) -> Counted:
        """Count one request of the caller, or of the address where there is none.

        Args:
            address: of the client; None where it has none (a Unix socket).
            route_class: of `ROUTE_CLASSES`; None: this request is not counted.
        """
        allowed = None if route_class is None else self._rules.allowed(caller, route_class)
        if allowed is None:
            return NOTHING
        return await self._counted(_who(caller, address), allowed, route_class or "")

    async def hit_task(self, caller: Caller, route_class: str) -> Counted:
        """The same for a request that was counted when it came, of which the class is known now."""
        allowed = self._rules.allowed(caller, route_class)
        if allowed is not None and allowed.window == ALL:
            allowed = replace(allowed, requests=None) if allowed.tokens is not None else None
        if allowed is None:
            return NOTHING
        return await self._counted(_who(caller, None), allowed, route_class)

    async def failed(self, address: str | None) -> Counted:
        """Count a request without a valid key."""
        return await self.hit(None, address, FAILED)

    async def is_failing(self, address: str | None) -> bool:
        """Whether an address has sent as many invalid keys as it may. Counts nothing."""
        allowed = self._rules.allowed(None, FAILED)
        most = None if allowed is None else allowed.requests
        if most is None:
            return False
        key = _key(_who(None, address), FAILED)
        left = await self._store.ask(lambda windows: windows.left(key, most))
        return left is not None and left <= 0

    def used_tokens(self, caller: str, count: int) -> None:
        """Count tokens that a run of a caller, named by its id, has used.

        Nothing waits for it, and what is used while the store is away is forgotten.
        """
        if count > 0 and self._counts_tokens:
            key = _key(f"{CALLER} {caller}", TOKENS)
            task = asyncio.get_running_loop().create_task(self._add(key, count))
            self._adding.add(task)
            task.add_done_callback(self._adding.discard)

    async def close(self) -> None:
        if self._adding:
            await asyncio.wait(self._adding)
        await self._store.close()

    async def _add(self, key: str, count: int) -> None:
        await self._store.ask(lambda windows: windows.add_tokens(key, count))

    async def _counted(self, who: str, allowed: Allowed, route_class: str) -> Counted:
        self._counts_tokens |= allowed.tokens is not None
        key, token_key = _key(who, allowed.window), _key(who, TOKENS)
        found = await self._store.ask(
            lambda windows: windows.count(key, allowed.requests, token_key, allowed.tokens)
        )
        if found is None:
            return NOTHING if self._is_open else Counted(refused=_unknown())
        headers = (
            *limit_headers("requests", found.requests),
            *limit_headers("tokens", found.tokens),
        )
        standing = found.requests if found.over == "requests" else found.tokens
        if found.over is None or standing is None:
            return Counted(headers)
        self._metrics.rate_limited(route_class, found.over)
        return Counted(headers, _refusal(found.over, standing, allowed.window))


def create_rate_limits(
    settings: Settings, metrics: AccessMetrics, now: Callable[[], float] = time.monotonic
) -> RateLimits:
    """Raises ConfigurationError for an ONEBOX_LIMITS_URL that cannot be used.

    Args:
        now: seconds that only grow.
    """
    url = settings.limits_url.get_secret_value() if settings.limits_url else MEMORY
    store = LimitStore(url, metrics, now)
    rules = limit_rules(settings)
    # Else when a caller with numbers of its own comes.
    if rules.requests or rules.tokens is not None or url != MEMORY:
        store.open()
    return RateLimits(rules, store, metrics, is_open=settings.limits_down == "open")


def _who(caller: Caller | None, address: str | None) -> str:
    return f"address {_network(address)}" if caller is None else f"{CALLER} {caller.id}"


def _network(address: str | None) -> str:
    """What of an address one client has for itself: all of IPv4's, half of IPv6's."""
    if address is None:
        return ""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        # A proxy's own word for a client.
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found.packed[: IPV6_PREFIX // 8].hex())


def _key(who: str, window: str) -> str:
    """Short, whatever a token calls its caller, and without addresses for others to read."""
    return hashlib.blake2b(f"{who}\n{window}".encode(), digest_size=16).hexdigest()


def _refusal(kind: Kind, standing: Standing, window: str) -> RateLimited:
    where = {ALL: "", FAILED: " without a valid key"}.get(window, f" of {window} routes")
    if kind == "tokens":
        where = ""
    return RateLimited(
        f"{standing.limit} {kind} a minute{where} are allowed, and they are used up; "
        f"try again in {math.ceil(standing.reset_s)} s",
        details={"kind": kind, "limit": standing.limit, "window_s": 60},
        retry_after_s=standing.reset_s,
    )


def _unknown() -> BackendUnavailable:
    return BackendUnavailable(
        "whether this request is within its rate limit cannot be found out now; try again later",
        retry_after_s=PAUSE_S,
    )
