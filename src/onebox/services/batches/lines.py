"""The lines of a batch's file: read one by one, and checked as far as no route is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

MAX_LINES = 50_000
MAX_ID_CHARS = 512
SHOWN_CHARS = 100
PIECE_BYTES = 1024 * 1024
# As many are told when no line can be used.
MAX_PROBLEMS = 50

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a line, or with all of a file."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One request. `number` counts all lines of the file from 1; `problem` stands for the body."""

    number: int
    custom_id: str | None
    body: bytes = b""
    problem: Problem | None = None


class UnusableFile(Exception):
    """Nothing of it can be carried out."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0].message)
        self.problems = problems


@dataclass(slots=True)
class LineReader:
    """Reads a file of requests to one endpoint. Blocking.

    Args:
        max_bytes: of a line.
    """

    endpoint: str
    max_bytes: int
    _known: set[str] = field(default_factory=set)

    def survey(self, path: Path) -> int:
        """How many lines there are. Raises UnusableFile when none of them can be used."""
        count, usable, problems = 0, 0, list[Problem]()
        for line in LineReader(self.endpoint, self.max_bytes).lines(path):
            count += 1
            if line.problem is None:
                usable += 1
            elif len(problems) < MAX_PROBLEMS:
                problems.append(line.problem)
            if count > MAX_LINES:
                message = f"the file has more than {MAX_LINES} requests; split it"
                raise UnusableFile([Problem("too_many_requests", message)])
        if not count:
            raise UnusableFile([Problem("empty_file", "the file has no requests")])
        if not usable:
            raise UnusableFile(problems)
        return count

    def lines(self, path: Path) -> Iterator[Line]:
        """Those that are not blank."""
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(self.max_bytes + 1):
                number += 1
                if len(raw) > self.max_bytes:
                    _skip_line(file, raw)
                    message = f"line {number} is longer than {self.max_bytes} bytes"
                    yield Line(
                        number, None, problem=Problem("line_too_long", message, None, number)
                    )
                elif text := raw.strip():
                    yield self._line(number, text)

    def _line(self, number: int, text: bytes) -> Line:
        try:
            fields = _fields.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            message = f"line {number} is not a JSON object"
            return Line(number, None, problem=Problem("invalid_json_line", message, None, number))
        custom_id = _text(fields, "custom_id")
        problem = self._problem(number, custom_id, fields)
        if custom_id is not None and len(custom_id) > MAX_ID_CHARS:
            custom_id = None
        if problem is not None:
            return Line(number, custom_id, problem=problem)
        self._known.add(custom_id or "")
        return Line(number, custom_id, bytes(fields["body"]))

    def _problem(
        self, number: int, custom_id: str | None, fields: dict[str, msgspec.Raw]
    ) -> Problem | None:
        def problem(code: str, param: str, message: str) -> Problem:
            return Problem(code, f"line {number}: {message}", param, number)

        if not custom_id or len(custom_id) > MAX_ID_CHARS:
            needed = f"custom_id must be a text of 1 to {MAX_ID_CHARS} characters"
            return problem("invalid_custom_id", "custom_id", needed)
        if custom_id in self._known:
            message = f"custom_id {custom_id[:SHOWN_CHARS]!r} is there twice"
            return problem("duplicate_custom_id", "custom_id", message)
        if _text(fields, "method") != "POST":
            return problem("invalid_method", "method", "method must be POST")
        if _text(fields, "url") != self.endpoint:
            message = f"url must be {self.endpoint}, the endpoint of the batch"
            return problem("mismatched_endpoint", "url", message)
        if bytes(fields.get("body", b""))[:1] != b"{":
            return problem("invalid_body", "body", "body must be an object")
        return None


def _text(fields: dict[str, Any], name: str) -> str | None:
    try:
        return msgspec.json.decode(fields.get(name, b""), type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _skip_line(file: BinaryIO, begun: bytes) -> None:
    """To its end, a piece at a time."""
    piece = begun
    while piece and not piece.endswith(b"\n"):
        piece = file.readline(PIECE_BYTES)
