"""A web server on this machine that offers files, with byte ranges, and breaks where it is told."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Page:
    """One file. `breaks` are the byte counts after which the next answers stop short."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    ranges: bool = True
    status: int = 200


@dataclass
class Shelf:
    """`asked` has (method, path, Range header) of every request; `stalled` is set when an answer
    waits, which it does after `stall_after` bytes until the shelf closes.
    """

    url: str = ""
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    stall_after: int | None = None
    stalled: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, body: bytes, **about: Any) -> str:
        """Offer a file; its address."""
        self.pages[path] = Page(body, **about)
        return self.url + path

    def put_json(self, path: str, value: Any, content_type: str = "application/json") -> str:
        return self.put(path, json.dumps(value).encode(), headers={"Content-Type": content_type})

    def ranges_of(self, path: str) -> list[str | None]:
        return [asked[2] for asked in self.asked if asked[:2] == ("GET", path)]


@contextlib.contextmanager
def open_shelf() -> Iterator[Shelf]:
    shelf = Shelf()
    server = _Server(shelf)
    shelf.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    try:
        yield shelf
    finally:
        shelf.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def put_hub_model(shelf: Shelf, repository: str, files: dict[str, bytes], commit: str) -> None:
    """Offer a repository as the model hub does; weights are large files with a SHA-256."""
    siblings = []
    for name, body in files.items():
        sha256 = hashlib.sha256(body).hexdigest()
        sha1 = hashlib.sha1(f"blob {len(body)}\0".encode() + body).hexdigest()
        is_large = name.endswith((".safetensors", ".bin"))
        lfs = {"lfs": {"size": len(body), "sha256": sha256, "pointerSize": 130}}
        about = {"rfilename": name, "size": len(body), "blobId": sha1}
        siblings.append(about | (lfs if is_large else {}))
        headers = {"X-Repo-Commit": commit, "ETag": f'"{sha256 if is_large else sha1}"'}
        shelf.put(f"/{repository}/resolve/{commit}/{name}", body, headers=headers)
    info = {"id": repository, "sha": commit, "siblings": siblings}
    for revision in ("main", commit):
        shelf.put_json(f"/api/models/{repository}/revision/{revision}", info)
    shelf.put_json(f"/api/models/{repository}", info)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.shelf = shelf


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_: object) -> None:
        """Tests read `asked`."""

    def _answer(self, *, with_body: bool) -> None:
        shelf, path = self.server.shelf, self.path.split("?")[0]
        shelf.asked.append((self.command, path, self.headers.get("Range")))
        shelf.headers.append(dict(self.headers))
        page = shelf.pages.get(path, Page(b"nothing here", status=404))
        start = self._start(page)
        body = page.body[start:]
        self.send_response(206 if start else page.status)
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            with contextlib.suppress(OSError):
                self._send(page, body)

    def _start(self, page: Page) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        return int(found[1]) if found and page.ranges and page.status == 200 else 0

    def _send(self, page: Page, body: bytes) -> None:
        shelf = self.server.shelf
        if shelf.stall_after is not None and len(body) > shelf.stall_after:
            self.wfile.write(body[: shelf.stall_after])
            shelf.stalled.set()
            shelf.closing.wait()
        elif page.breaks:
            self.wfile.write(body[: page.breaks.pop(0)])
        else:
            self.wfile.write(body)
