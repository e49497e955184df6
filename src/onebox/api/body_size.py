"""How much a JSON body holds, counted before it is parsed.

A field or an object takes thousands of times its bytes in memory and time once it is parsed, and
nothing else is served meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from starlette.exceptions import HTTPException

# Objects, lists and fields; values in all.
MAX_NODES = 131_072
MAX_VALUES = 2_097_152
# A smaller body holds no more than that.
QUICK_BYTES = 256 * 1024
NODE_MARKS = (b"{", b"[", b":")
CHUNK = 1024 * 1024
# Where no mark is escaped any more.
TEXT = re.compile(rb'"[^"]*+"')


def refuse_crowded(body: bytes) -> None:
    """Raises HTTPException, as for a body of too many bytes; FastAPI would hide anything else.

    Takes a while for a large body: call it on a thread.
    """
    if len(body) <= QUICK_BYTES or not _is_over(*_marks(body)):
        return
    # Texts hold such marks too.
    if _is_over(*_marks_outside_texts(body)):
        raise HTTPException(
            413,
            f"the body holds more than {MAX_NODES} objects, lists and fields, or more than "
            f"{MAX_VALUES} values",
        )


def _is_over(nodes: int, values: int) -> bool:
    return nodes > MAX_NODES or values > MAX_VALUES


def _marks(body: bytes) -> tuple[int, int]:
    """Nodes and values, at most."""
    nodes = values = 0
    for piece in _pieces(body):
        nodes += sum(map(piece.count, NODE_MARKS))
        values += piece.count(b",")
    return nodes, values


def _marks_outside_texts(body: bytes) -> tuple[int, int]:
    """The same without those inside of texts; no further than to a piece with too many."""
    nodes = values = 0
    is_inside = False
    for piece in _pieces(body.replace(b"\\\\", b"").replace(b'\\"', b"")):
        # A quotation mark that is left begins a text that ends in another piece.
        left = TEXT.sub(b"", b'"' + piece if is_inside else piece)
        outside, quote, _ = left.partition(b'"')
        is_inside = bool(quote)
        nodes += sum(map(outside.count, NODE_MARKS))
        values += outside.count(b",")
        if _is_over(nodes, values):
            break
    return nodes, values


def _pieces(body: bytes) -> Iterator[bytes]:
    """So that other threads get their turn in between."""
    return (body[start : start + CHUNK] for start in range(0, len(body), CHUNK))
