"""An operator's backend on this machine, which answers as a test wants it to: slow, wrong, down."""

from __future__ import annotations

import json
import queue
import socket
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.loopback import Loopback
from tests.support.ports import free_port
from tests.support.receiver import WAIT_S, Received


@dataclass(frozen=True)
class Reply:
    """What one request is answered.

    Attributes:
        drops: the connection is closed without a word.
        promised: bytes that the head names, where it lies about them.
        waits: for the server's `open`, after the head of the answer when `midway`.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    drops: bool = False
    promised: int | None = None
    waits: bool = False
    midway: bool = False


def said(data: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(data).encode(), {"Content-Type": "application/json"})


EMPTY = Reply()
DOWN = Reply(503)
DROPPED = Reply(drops=True)
BROKEN_OFF = Reply(body=b'{"valid": t', promised=100)
SLOW = Reply(waits=True)
STUCK = Reply(body=b'{"valid": t', promised=100, waits=True, midway=True)
HTML = Reply(body=b"<html>Under maintenance</html>", headers={"Content-Type": "text/html"})
HUGE = Reply(body=b'{"valid": true, "x": "' + b"a" * 2_000_000 + b'"}')
NOT_JSON = Reply(body=b'{"valid": tru', headers={"Content-Type": "application/json"})
PACKED = Reply(body=b"\x1f\x8b" + bytes(20), headers={"Content-Encoding": "gzip"})


def moved(to: str) -> Reply:
    return Reply(307, headers={"Location": to})


class Backend(Loopback):
    """Answers each request with the next of `script`; then with what is `at` its path, or `usual`.

    While `open` is clear, replies that wait for it do.
    """

    def __init__(self, usual: Reply = EMPTY) -> None:
        self.usual = usual
        self.script: deque[Reply] = deque()
        self.at: dict[str, Reply] = {}
        self.received: list[Received] = []
        self._arrived: queue.Queue[Received] = queue.Queue()
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body are two packets, of which the second would wait for a word of the other.
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                backend._note(Received(self.path, headers, body, self.command))
                backend._answer(self)

            def do_GET(self) -> None:
                self.do_POST()

            def do_OPTIONS(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            # The default of 5 turns away many that come at once.
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                """Whoever asked has left."""

        super().__init__(Server(("127.0.0.1", 0), Handler))

    def url(self, path: str = "/verify") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def next(self) -> Received:
        """The next request, waited for."""
        return self._arrived.get(timeout=WAIT_S)

    def _note(self, request: Received) -> None:
        self.received.append(request)
        self._arrived.put(request)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        usual = self.at.get(handler.path.partition("?")[0], self.usual)
        reply = self.script.popleft() if self.script else usual
        if reply.drops:
            handler.close_connection = True
            return
        if reply.waits and not reply.midway:
            self.open.wait(WAIT_S)
        try:
            _send(handler, reply)
            if reply.midway:
                handler.wfile.flush()
                self.open.wait(WAIT_S)
        except OSError:
            # Whoever asked has left.
            handler.close_connection = True


def _send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    length = len(reply.body) if reply.promised is None else reply.promised
    handler.send_response(reply.status)
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()
    handler.wfile.write(reply.body)
    # One that has promised more than it gave is not to be asked again.
    handler.close_connection = handler.close_connection or length != len(reply.body)


class BlackHole:
    """Accepts connections, and never says a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/verify"

    def close(self) -> None:
        self._listener.close()


def closed_port() -> int:
    """A port that nobody listens on."""
    return free_port()
