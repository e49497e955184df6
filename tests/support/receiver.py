"""A receiver of webhooks on this machine, which operators must allow by its name."""

from __future__ import annotations

import queue
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.loopback import Loopback

NAME = "hooks.test"
# Only a test that would hang waits so long.
WAIT_S = 60


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"


class Receiver(Loopback):
    """Answers each request with the next of `answers`, a status and headers; then with 204.

    While `open` is clear they wait for their answer.
    """

    def __init__(self) -> None:
        self.answers: deque[tuple[int, dict[str, str]]] = deque()
        self._received: queue.Queue[Received] = queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver._received.put(Received(self.path, headers, body))
                receiver.open.wait(WAIT_S)
                status, more = receiver.answers.popleft() if receiver.answers else (204, {})
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        self.open.set()

    def url(self, path: str = "/hook", *, name: str = NAME) -> str:
        return f"http://{name}:{self.port}{path}"

    def next(self) -> Received:
        """The next request, waited for."""
        return self._received.get(timeout=WAIT_S)

    def has_more(self) -> bool:
        return not self._received.empty()
