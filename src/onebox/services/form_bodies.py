"""Bodies of forms, for requests that the server sends to itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """A field of a form; a file when it has a file's name."""

    name: str
    content: bytes
    filename: str | None = None
    media_type: str | None = None

    @property
    def head(self) -> bytes:
        head = f'Content-Disposition: form-data; name="{_quoted(self.name)}"'
        if self.filename is not None:
            head += f'; filename="{_quoted(self.filename)}"'
        if self.media_type is not None:
            head += f"\r\nContent-Type: {_line(self.media_type)}"
        return head.encode()


def encoded_form(parts: Sequence[Part]) -> tuple[bytes, str]:
    """The body and its type. Equal forms are equal bytes, and no part can hold the boundary."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d %b %d %b" % (len(part.head), part.head, len(part.content), part.content))
    boundary = digest.hexdigest()[:48]
    mark = boundary.encode()
    pieces = [b"--%b\r\n%b\r\n\r\n%b\r\n" % (mark, part.head, part.content) for part in parts]
    body = b"".join((*pieces, b"--%b--\r\n" % mark))
    return body, f"multipart/form-data; boundary={boundary}"


def _quoted(text: str) -> str:
    """As browsers write it."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")
