"""Whether the servers that the settings name answer. Nothing is sent but the question itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from onebox.core.settings import Settings
from onebox.services.checkup.clock import check_skew
from onebox.services.checkup.findings import Findings
from onebox.services.hooks.reachable import reachable
from onebox.services.outgoing.client import create_http_client

# For one server, and so for all: they are asked at the same time.
TIMEOUT_S = 5.0
PORTS = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379}

Question = Callable[[], Awaitable[str | None]]


def check_reach(settings: Settings, findings: Findings) -> None:
    asyncio.run(_check(settings, findings))


async def _check(settings: Settings, findings: Findings) -> None:
    asked = list(_questions(settings))
    hosts = {_origin(url) for _, url, is_http in asked if is_http}
    problems = await asyncio.gather(*(_ask(url, is_http) for _, url, is_http in asked))
    for (setting, url, _), problem in zip(asked, problems, strict=True):
        if problem is not None:
            host = urlsplit(url).hostname
            findings.problems.append(f"{setting} ({host}): {problem}")
    for host, skew_s in await asyncio.gather(*map(_skew_of, sorted(hosts))):
        if skew_s is not None:
            check_skew(host, skew_s, findings)


def _questions(settings: Settings) -> Iterator[tuple[str, str, bool]]:
    """Setting, URL, and whether its path is one that can be asked; else it is connected to."""
    hooks = {
        "ONEBOX_AUTH_VERIFY_URL": settings.auth_verify_url,
        "ONEBOX_CREDIT_CHECK_URL": settings.credit_check_url,
        "ONEBOX_USAGE_WEBHOOK_URL": settings.usage_webhook_url,
    }
    yield from ((name, url, True) for name, url in hooks.items() if url)
    for upstream in settings.upstream:
        yield f"[[upstream]] {upstream.name}", upstream.url, False
    if settings.jwt_keys and "://" in settings.jwt_keys:
        yield "ONEBOX_JWT_KEYS", settings.jwt_keys, False
    counted = settings.limits_url.get_secret_value() if settings.limits_url else ""
    if urlsplit(counted).scheme in PORTS:
        yield "ONEBOX_LIMITS_URL", counted, False
    if settings.otel_endpoint:
        yield "ONEBOX_OTEL_ENDPOINT", settings.otel_endpoint, False


async def _ask(url: str, is_http: bool) -> str | None:
    """What is wrong, or None."""
    if is_http:
        return await reachable(url, timeout_s=TIMEOUT_S)
    parts = urlsplit(url)
    try:
        port = parts.port or PORTS.get(parts.scheme, 443)
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(parts.hostname, port)
        writer.close()
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:g} s: is it up, and may this machine reach it?"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the name or the port is wrong"
        return f"it cannot be connected to ({reason}): is it up, and is the name right?"
    return None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


async def _skew_of(origin: str) -> tuple[str, float | None]:
    """By how many seconds the clock of another server is ahead, where it says what time it is."""
    import httpx2

    async with create_http_client(connect_s=TIMEOUT_S, read_s=TIMEOUT_S) as client:
        try:
            response = await client.options(origin)
            date = parsedate_to_datetime(response.headers.get("date", ""))
        except (httpx2.HTTPError, ValueError):
            return origin, None
    return origin, date.timestamp() - time.time()
