"""Fetches media that a client names by a link, where the operator allows it.

A link is a way to make this server ask other machines, those behind its firewall included. So it is
off by default; one parser reads the link; a name is resolved once, every address of it is looked
at, and the connection goes to the address that was looked at; no redirect is followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.services.remote_link import Link, parse_link, refuse_private

TIMEOUT_S = 10.0
THREADS = 4
HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "onebox"}

Resolve = Callable[[str, int], Sequence[str]]
Connect = Callable[[str, Link, float], socket.socket]


class RemoteMedia:
    """Safe for many requests at once; its threads are its own, so that none waits for a slow host.

    Args:
        enabled: whether anything is fetched at all.
        hosts: names, or `name:port`, that may be private, plain http and on any port.
        resolve: addresses of a name.
        connect: a connection to an address, encrypted where the link is.
    """

    def __init__(
        self,
        *,
        enabled: bool,
        hosts: Sequence[str] = (),
        timeout_s: float = TIMEOUT_S,
        resolve: Resolve | None = None,
        connect: Connect | None = None,
    ) -> None:
        self._enabled = enabled
        self._hosts = frozenset(host.lower() for host in hosts)
        self._timeout_s = timeout_s
        self._resolve = resolve or resolve_name
        self._connect = connect or open_connection
        self._threads = ThreadPoolExecutor(THREADS, "remote-media")

    async def fetch(self, url: str, param: str, *, max_bytes: int) -> MediaRef:
        """Raises InvalidInput, with that param, whatever went wrong."""
        if not self._enabled:
            raise InvalidInput(
                "links to pictures are off on this server; send a data URL "
                "(data:image/png;base64,…), or set ONEBOX_REMOTE_MEDIA=true",
                param=param,
            )
        link = parse_link(url, self._hosts, param)
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._fetch, link, param, max_bytes)
        try:
            # Looking up a name may take as long again, and nothing else can stop it.
            async with asyncio.timeout(2 * self._timeout_s):
                return await work
        except TimeoutError:
            raise _unreachable(link, param) from None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, link: Link, param: str, max_bytes: int) -> MediaRef:
        deadline = time.monotonic() + self._timeout_s
        try:
            addresses = self._resolve(link.host, link.port)
            if not link.trusted:
                refuse_private(addresses, param)
            connection = self._connect(addresses[0], link, self._timeout_s)
        except (OSError, IndexError):
            raise _unreachable(link, param) from None
        # Ends whatever waits for the host, however slowly it speaks.
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), _cut, (connection,))
        timer.daemon = True
        timer.start()
        try:
            media = _read(connection, link, param, max_bytes)
        except (OSError, http.client.HTTPException):
            raise _unreachable(link, param) from None
        finally:
            timer.cancel()
            connection.close()
        if time.monotonic() >= deadline:
            raise _unreachable(link, param)
        return media


def resolve_name(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def open_connection(address: str, link: Link, timeout_s: float) -> socket.socket:
    """To that very address; the certificate must be that of the link's host."""
    connection = socket.create_connection((address, link.port), timeout_s)
    if not link.encrypted:
        return connection
    context = ssl.create_default_context()
    return context.wrap_socket(connection, server_hostname=link.host, do_handshake_on_connect=False)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not the method of an encrypted one, which takes away what the other thread reads from.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _read(connection: socket.socket, link: Link, param: str, max_bytes: int) -> MediaRef:
    if isinstance(connection, ssl.SSLSocket):
        connection.do_handshake()
    client = http.client.HTTPConnection(link.host, link.port)
    client.sock = connection
    # One request on this connection and no other.
    client.auto_open = 0
    client.request("GET", link.target, headers={**HEADERS, "Host": link.authority})
    answer = client.getresponse()
    if answer.status != 200:
        why = "redirects are not followed" if answer.status // 100 == 3 else "it must be 200"
        raise InvalidInput(f"the link answered with status {answer.status}; {why}", param=param)
    media_type = answer.headers.get_content_type()
    if not media_type.startswith("image/") or answer.headers.get("Content-Encoding"):
        raise InvalidInput(f"the link gave {media_type[:64]}, not a picture", param=param)
    data = answer.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise InvalidInput(
            f"the link gave more than {max_bytes} bytes", param=param, details={"max": max_bytes}
        )
    if answer.length:
        raise http.client.IncompleteRead(data, answer.length)
    return MediaRef(media_type=media_type, data=data)


def _unreachable(link: Link, param: str) -> InvalidInput:
    return InvalidInput(f"nothing could be fetched from {link.host}", param=param)
