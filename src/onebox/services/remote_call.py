"""Requests to hosts that a client named by a link: a way to make this server ask other machines,
those behind its firewall included.

So a name is resolved once, every address of it is looked at, and the connection goes to the address
that was looked at; no redirect is followed, no proxy is asked, and nothing waits for a slow host.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from onebox.services.remote_link import Link, refuse_private

TIMEOUT_S = 10.0
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "onebox"}

Resolve = Callable[[str, int], Sequence[str]]
Connect = Callable[[str, Link, float], socket.socket]
T = TypeVar("T")


class Unreachable(Exception):
    """A host that cannot be found or connected to, breaks off, or is too slow."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked of a link."""

    method: str
    headers: Mapping[str, str]
    body: bytes | None = None


class RemoteCalls:
    """Safe for many requests at once. Its threads are its own.

    Args:
        name: of the threads.
        timeout_s: of a whole request; finding the host may take as long again.
        resolve: addresses of a name.
        connect: a connection to an address, encrypted where the link is.
    """

    def __init__(
        self,
        name: str,
        *,
        threads: int,
        timeout_s: float = TIMEOUT_S,
        resolve: Resolve | None = None,
        connect: Connect | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._resolve = resolve or resolve_name
        self._connect = connect or open_connection
        self._threads = ThreadPoolExecutor(threads, name)

    async def send(
        self, link: Link, call: Call, read: Callable[[http.client.HTTPResponse], T], *, param: str
    ) -> T:
        """What `read` makes of the answer, of which it is given the head; it runs on a thread.

        Raises Unreachable, and InvalidInput with that param for an address that must not be asked.
        """
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._send, link, call, read, param)
        try:
            # Looking up a name may take as long again, and nothing else can stop it.
            async with asyncio.timeout(2 * self._timeout_s):
                return await work
        except TimeoutError:
            raise _unreachable(link) from None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _send(
        self, link: Link, call: Call, read: Callable[[http.client.HTTPResponse], T], param: str
    ) -> T:
        deadline = time.monotonic() + self._timeout_s
        try:
            addresses = self._resolve(link.host, link.port)
            if not link.trusted:
                refuse_private(addresses, param)
            connection = self._connect(addresses[0], link, self._timeout_s)
        except (OSError, IndexError):
            raise _unreachable(link) from None
        # Ends whatever waits for the host, however slowly it speaks.
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), _cut, (connection,))
        timer.daemon = True
        timer.start()
        try:
            found = read(_answer_to(connection, link, call))
        except (OSError, http.client.HTTPException):
            raise _unreachable(link) from None
        finally:
            timer.cancel()
            connection.close()
        if time.monotonic() >= deadline:
            raise _unreachable(link)
        return found


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


def _answer_to(connection: socket.socket, link: Link, call: Call) -> http.client.HTTPResponse:
    if isinstance(connection, ssl.SSLSocket):
        connection.do_handshake()
    client = http.client.HTTPConnection(link.host, link.port)
    client.sock = connection
    # One request on this connection and no other.
    client.auto_open = 0
    headers = {**HEADERS, **call.headers, "Host": link.authority}
    client.request(call.method, link.target, call.body, headers)
    return client.getresponse()


def _unreachable(link: Link) -> Unreachable:
    return Unreachable(f"{link.host} cannot be reached")
