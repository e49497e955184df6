"""Bodies as a route reads them, without a route."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable
from typing import Any

from fastapi import Request
from pydantic import BaseModel

from onebox.api.picture_bodies import PictureSources, load_pictures, read_body
from onebox.core.media import MediaRef
from onebox.services.remote_media import RemoteMedia
from tests.unit.api.sounds import Part, form

PNG = b"\x89PNG\r\n\x1a\n and more"
FILE = ("a.png", PNG, "image/png")
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


def request_of(headers: dict[str, str], body: bytes) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    raw = [(name.encode(), text.encode()) for name, text in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


def read(model: type[BaseModel], given: dict[str, Any] | Iterable[tuple[str, Part]]) -> Any:
    """A dict is JSON, anything else a form."""
    if isinstance(given, dict):
        request = request_of({"content-type": "application/json"}, json.dumps(given).encode())
    else:
        headers, body = form(given)
        request = request_of(headers, body)
    return asyncio.run(read_body(request, model))


def load(
    body: BaseModel, remote: Any = None, uploads: Any = None, **limits: int
) -> dict[str, list[MediaRef]]:
    sources = PictureSources(remote or RemoteMedia(enabled=False), uploads, "me")
    return asyncio.run(load_pictures(body, sources, **limits))
