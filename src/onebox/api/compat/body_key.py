"""A key that a request has in its JSON body as `api_key`, and as `user_id` whose it is said to be.

The body of somebody unknown is read only so far; what was read is there again for the route.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from fastapi import Request
from starlette.types import Message

from onebox.api.entering import USER_ID
from onebox.core.errors import Cancelled, Unauthorized

# More needs the header: nobody unknown may have the server hold more than that.
MAX_BYTES = 1024 * 1024
MAX_USER_ID = 256
# As a header could carry it.
KEY = re.compile(r"[!-~]{1,8192}")


class _Keyed(msgspec.Struct):
    api_key: str
    user_id: Annotated[str, msgspec.Meta(max_length=MAX_USER_ID)] | None = None


async def read_key(request: Request) -> tuple[Request, str | None]:
    """The request, to be read from its begin, and the key in its body, if there is one. Whose it is
    said to be is then in the scope.

    Raises Unauthorized for a body that is too large, Cancelled when the client leaves.
    """
    body = await _whole(request)
    again: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return again.pop() if again else await request.receive()

    found = _keyed(body)
    if found is not None:
        request.scope[USER_ID] = found.user_id
    return Request(request.scope, receive), None if found is None else found.api_key


async def _whole(request: Request) -> bytes:
    """The body: its bytes alone, for it may come in a million pieces."""
    found = bytearray()
    is_more = True
    while is_more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Cancelled("the client left")
        found += message.get("body", b"")
        if len(found) > MAX_BYTES:
            raise Unauthorized(
                f"a body of more than {MAX_BYTES} bytes needs the key in the header "
                "Authorization: Bearer <key>"
            )
        is_more = message.get("more_body", False)
    return bytes(found)


def _keyed(body: bytes) -> _Keyed | None:
    try:
        found = msgspec.json.decode(body, type=_Keyed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if KEY.fullmatch(found.api_key) else None
