"""The HTTP client for servers that the operator named."""

from __future__ import annotations

import http.cookiejar
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

CONNECT_S = 10.0
READ_S = 20.0
WRITE_S = 10.0
CONNECTIONS = 32
# An unused connection is closed before most servers would close it.
KEEP_S = 15.0
MAX_ANSWER_BYTES = 1024 * 1024
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "onebox"}


class BadAnswer(Exception):
    """A server answered what nobody can use. The message is for the log; it quotes no answer."""


def create_http_client(
    *,
    connect_s: float = CONNECT_S,
    read_s: float = READ_S,
    write_s: float = WRITE_S,
    connections: int = CONNECTIONS,
    headers: Mapping[str, str] | None = None,
    base_url: str = "",
    transport: httpx2.AsyncBaseTransport | None = None,
) -> httpx2.AsyncClient:
    """A client of the running event loop. Close it with `aclose`.

    It follows no redirect, for that would carry a key to another host; asks no proxy and reads no
    netrc of the environment; and keeps no cookies, which would mix up those it asks for. It asks
    for answers that are not compressed: see `read_answer`. Making one takes some 20 ms.

    Args:
        connect_s: until connected, name and TLS included; also for a free connection of the pool.
        read_s: between two pieces of an answer. Bound the whole with `asyncio.timeout`.
        connections: that may be open at a time.
        headers: of every request, beside our own; never logged.
        transport: instead of the network, for tests.
    """
    import httpx2

    return httpx2.AsyncClient(
        base_url=base_url,
        headers={**HEADERS, **(headers or {})},
        timeout=httpx2.Timeout(connect=connect_s, read=read_s, write=write_s, pool=connect_s),
        limits=httpx2.Limits(
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=KEEP_S,
        ),
        follow_redirects=False,
        trust_env=False,
        # The certificates that the machine trusts, `SSL_CERT_FILE` too.
        verify=httpx2.create_ssl_context(),
        transport=transport,
        cookies=http.cookiejar.CookieJar(_NoCookies()),
    )


async def read_answer(response: httpx2.Response, *, max_bytes: int = MAX_ANSWER_BYTES) -> bytes:
    """The body of a streamed answer (`client.stream`). Raises BadAnswer, httpx2.TransportError.

    Nothing is unpacked: a few compressed bytes can be as large as the memory.
    """
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise BadAnswer("the answer is compressed, which it was asked not to be")
    found = bytearray()
    async for piece in response.aiter_raw():
        found += piece
        if len(found) > max_bytes:
            raise BadAnswer(f"the answer has more than {max_bytes} bytes")
    return bytes(found)


class _NoCookies(http.cookiejar.DefaultCookiePolicy):
    """Takes none and sends none."""

    def set_ok(self, *_: object) -> bool:
        return False

    def return_ok(self, *_: object) -> bool:
        return False
