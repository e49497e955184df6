"""A server without workers, and requests to it byte by byte: paths and hosts as an attacker sends
them, which a client library would tidy up.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI
from fastapi.routing import APIRoute, _IncludedRouter

from onebox.bootstrap import Services, build_services
from onebox.core.settings import load_settings

USER = {"authorization": "Bearer user-key"}
ADMIN = {"authorization": "Bearer admin-key"}
BODY_LIMIT = 4096
# Only a test that would hang gets this far.
ANSWER_S = 60
# Instead of a status: the client left before there was one.
NO_ANSWER = 0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run() -> None:
        asyncio.run(bounded(test()))

    return run


async def bounded(work: Awaitable[None]) -> None:
    async with asyncio.timeout(ANSWER_S):
        await work


def build(folder, **settings: Any) -> Services:
    given = {
        "root": folder,
        "data_dir": folder / "data",
        "model_dirs": (folder / "models",),
        "api_keys": ("user-key",),
        "admin_keys": ("admin-key",),
        "secret_key": "signs tokens in tests",
        "max_body_bytes": BODY_LIMIT,
        **settings,
    }
    return build_services(load_settings(**given))


def tear_down(services: Services) -> None:
    services.registry.stop()
    services.database.close()
    services.lock.release()


def every_route(routes: Iterable[Any], prefix: str = "") -> list[Any]:
    """All routes, those of included routers too, which FastAPI keeps folded up."""
    found = []
    for route in routes:
        if isinstance(route, _IncludedRouter):
            inner = prefix + (route.include_context.prefix or "")
            found += every_route(route.original_router.routes, inner)
        else:
            found.append((prefix + getattr(route, "path", ""), route))
    return found


def api_routes(app: FastAPI) -> list[tuple[str, str]]:
    """(method, path) of each."""
    return [
        (method, path)
        for path, route in every_route(app.routes)
        if isinstance(route, APIRoute)
        for method in sorted(route.methods)
    ]


def ask(
    app: FastAPI,
    method: str,
    target: str,
    headers: dict[str, str] | None = None,
    body: bytes | list[bytes] = b"",
    leaves: asyncio.Event | None = None,
    address: str | None = "127.0.0.1",
) -> Answer:
    """One request. `target` is what stands in the request line; a list is sent in chunks.

    The client, who comes from `address`, leaves when `leaves` is set, after its body.
    """
    chunks = list(body) if isinstance(body, list) else [body]
    sent: list[dict[str, Any]] = []
    given = {"host": "testserver", "content-type": "application/json", **(headers or {})}
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), text.encode("latin-1")) for name, text in given.items()],
        "client": (address, 5000) if address else None,
        "server": ("127.0.0.1", 8000),
        "state": {},
    }

    async def receive() -> dict[str, Any]:
        if not chunks:
            await (leaves or asyncio.Event()).wait()
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(bounded(app(scope, receive, send)))
    if not sent:
        return Answer(NO_ANSWER, {}, b"")
    return Answer(
        sent[0]["status"],
        {name.decode(): text.decode() for name, text in sent[0]["headers"]},
        b"".join(message.get("body", b"") for message in sent[1:]),
    )
