"""Server-sent events, as an upstream sends them: bounded, whatever it does."""

from __future__ import annotations

from collections.abc import AsyncIterator

from onebox.services.outgoing.client import BadAnswer

DONE = b"[DONE]"
# A picture as base64; a whole answer of some.
MAX_EVENT_BYTES = 64 * 1024 * 1024
MAX_STREAM_BYTES = 256 * 1024 * 1024


async def read_events(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of each event, up to `[DONE]` or the end of the stream.

    Comments and the names of events are passed over. Raises BadAnswer for an event that is too
    long, and for a stream without end.
    """
    rest, size = bytearray(), 0
    data: list[bytes] = []
    async for piece in pieces:
        size += len(piece)
        rest += piece
        if size > MAX_STREAM_BYTES or len(rest) > MAX_EVENT_BYTES:
            raise BadAnswer("the answer has no end, or an event none")
        # A line may end in "\r\n", the two halves of which may come apart.
        if b"\n" not in piece:
            continue
        *lines, last = rest.split(b"\n")
        rest = bytearray(last)
        for line in lines:
            event = _fed(bytes(line.rstrip(b"\r")), data)
            if event == DONE:
                return
            if event is not None:
                yield event
    # Some servers leave out the empty line after the last event.
    event = _fed(bytes(rest.rstrip(b"\r")), data) or _fed(b"", data)
    if event is not None and event != DONE:
        yield event


def _fed(line: bytes, data: list[bytes]) -> bytes | None:
    """The data of the event that this line ends; what it adds to one goes to `data`."""
    if line.startswith(b"data:"):
        data.append(line[5:].removeprefix(b" "))
        return None
    if line or not data:
        return None
    event = b"\n".join(data)
    data.clear()
    return event
