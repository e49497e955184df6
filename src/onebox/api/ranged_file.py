"""Files as answers, or the part of one that a client asks for."""

from __future__ import annotations

import re
from typing import Any

from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from onebox.api.bodies import header_parameter

# One part of a file, from its begin or from its end: all that players and downloads ask for.
RANGE = re.compile(rb"bytes=(?:(\d{1,18})-(\d{0,18})|-\d{1,18})")


class RangedFile(FileResponse):
    """Ranges that it does not know it leaves out of account, as HTTP has it, and sends the whole;
    the class below would answer some of them with an error of another shape than ours.

    Raises HTTPException for a part that the file does not have.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (name, value)
            for name, value in scope["headers"]
            if name != b"range" or _is_known(value)
        ]

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 416:
                raise _not_there(message)
            await send(message)

        await super().__call__({**scope, "headers": headers}, receive, sent)


def told_file(description: str) -> dict[str, Any]:
    """What a route that answers with one must say of it on the API's pages."""
    # No type: JSON among them, and of that a client sees no bytes.
    content = {"*/*": {"schema": {"description": "The file's own bytes."}}}
    part = {"description": "The part that `Range` asks for.", "content": content}
    return {
        "responses": {200: {"description": description, "content": content}, 206: part},
        "openapi_extra": header_parameter(
            "Range", "One part: `bytes=0-1023`, `bytes=1024-`, `bytes=-1024`."
        ),
    }


def _is_known(value: bytes) -> bool:
    match = RANGE.fullmatch(value)
    if match is None:
        return False
    return not match[1] or not match[2] or int(match[1]) <= int(match[2])


def _not_there(message: Message) -> HTTPException:
    told = dict(message["headers"])[b"content-range"].decode("ascii")
    size = told.rpartition("/")[2]
    return HTTPException(
        416,
        f"the file has {size} bytes, and Range asks for a part that begins behind them",
        {"Content-Range": told},
    )
