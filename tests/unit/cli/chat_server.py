"""A stand-in of a server that chats: what it is asked is kept, what it answers is written here."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "the-key"
PATIENCE_S = 120.0


@dataclass
class ChatServer:
    """`left` is set when a client went away in the middle of an answer that never ends."""

    url: str = ""
    models: dict[str, list[str]] = field(default_factory=lambda: {"tiny": ["chat"]})
    pieces: list[str] = field(default_factory=lambda: ["Hel", "lo"])
    error: dict[str, Any] | None = None
    never_ends: bool = False
    requests: list[dict[str, Any]] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def chat_server() -> Iterator[ChatServer]:
    state = ChatServer()
    server = _Server(state)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, state: ChatServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = state


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        models, name = self.server.state.models, self.path.removeprefix("/v1/models").strip("/")
        chatting = [model for model, tasks in models.items() if "chat" in tasks]
        if name == "gpt-4o-mini" and len(chatting) == 1:
            name = chatting[0]
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self._json(401, {"error": {"message": "the key is not valid"}})
        elif not name:
            data = [{"id": model, "tasks": tasks} for model, tasks in models.items()]
            self._json(200, {"data": data})
        elif name in models:
            self._json(200, {"id": name, "name": name, "tasks": models[name]})
        else:
            self._json(404, {"error": {"message": f"no model {name}"}})

    def do_POST(self) -> None:
        state = self.server.state
        state.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if state.error and "status" in state.error:
            self._json(state.error["status"], {"error": state.error})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with contextlib.suppress(OSError):
            self._stream(state)

    def log_message(self, *_: object) -> None:
        """Tests read `requests`."""

    def _stream(self, state: ChatServer) -> None:
        self.wfile.write(b": ping\n\n")
        for piece in state.pieces:
            self._event({"choices": [{"index": 0, "delta": {"content": piece}}]})
        if state.error:
            self._event({"error": state.error})
            return
        try:
            while state.never_ends and not state.closing.wait(0.01):
                self.wfile.write(b": ping\n\n")
        except OSError:
            state.left.set()
            return
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, value: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()

    def _json(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
