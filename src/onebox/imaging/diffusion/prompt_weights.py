"""The weights that brackets give to words of a prompt, read as A1111 and ComfyUI read them.

`(word)` times 1.1, `((word))` times 1.21, `(word:1.3)` times 1.3, `[word]` divided by 1.1; a
backslash makes a bracket a bracket; `BREAK` ends a stretch of what the text encoder reads at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from onebox.core.errors import InvalidInput

ROUND = 1.1
SQUARE = 1 / 1.1
HEAVIEST = 10.0
TOKEN = re.compile(
    r"\\(?P<literal>[()\[\]\\])|(?P<open>[(\[])|:\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)"
    r"|(?P<close>[)\]])|\b(?P<next>BREAK)\b"
)
SYNTAX = re.compile(r"\\[()\[\]\\]|[()\[\]]|\bBREAK\b")
ESCAPED = re.compile(r"\\([()\[\]])")
WEIGHTED = re.compile(r"(?<!\\)\([^()]*:\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*\)")


@dataclass(frozen=True, slots=True)
class Part:
    """Some text of a prompt and its weight; `stretch` counts the BREAKs before it."""

    text: str
    weight: float = 1.0
    stretch: int = 0


def is_plain(prompt: str) -> bool:
    """Whether nothing in it has a meaning of its own."""
    return SYNTAX.search(prompt) is None


def read_weights(prompt: str, param: str = "prompt") -> tuple[Part, ...]:
    """The parts of a prompt. A bracket that is never closed reaches to the end.

    Raises InvalidInput for a weight beyond ±10.
    """
    reader = _Reader()
    start = 0
    for match in TOKEN.finditer(prompt):
        reader.text(prompt[start : match.start()])
        reader.token(match)
        start = match.end()
    reader.text(prompt[start:])
    parts = reader.end()
    heaviest = max((abs(part.weight) for part in parts), default=1.0)
    if heaviest > HEAVIEST:
        raise InvalidInput(
            f"a part of the {param} weighs {heaviest:.4g}; the most is {HEAVIEST:g}: take brackets "
            "away, or put a backslash before those that are meant as brackets",
            param=param,
            details={"weight": heaviest, "max": HEAVIEST},
        )
    return parts


def plain_sentence(prompt: str, model: str, param: str = "prompt") -> str:
    """The text for a model that reads sentences, to which brackets are just brackets.

    Raises InvalidInput for a weight in figures, which such a model would read out as text.
    """
    found = WEIGHTED.search(prompt)
    if found is not None:
        raise InvalidInput(
            f"{model} reads whole sentences and takes no weights such as {found.group()[:40]!r}: "
            "say in words what matters, or put a backslash before the bracket",
            param=param,
            details={"weighted": found.group()[:200]},
        )
    return ESCAPED.sub(r"\1", prompt)


class _Reader:
    """Parts as they are read, and where the brackets that are still open began."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._open: list[tuple[str, int]] = []
        self._stretch = 0

    def text(self, text: str) -> None:
        if text:
            self._parts.append(Part(text, 1.0, self._stretch))

    def token(self, match: re.Match[str]) -> None:
        if match["literal"]:
            self.text(match["literal"])
        elif match["open"]:
            self._open.append((match["open"], len(self._parts)))
        elif match["next"]:
            self._stretch += 1
        elif match["close"]:
            self._close("(" if match["close"] == ")" else "[", None, match.group())
        else:
            self._close("(", float(match["weight"]), match.group())

    def _close(self, bracket: str, weight: float | None, written: str) -> None:
        """End the innermost bracket of this kind; one that was never opened is text."""
        kinds = [kind for kind, _ in self._open]
        if bracket not in kinds:
            self.text(written)
            return
        _, start = self._open.pop(len(kinds) - 1 - kinds[::-1].index(bracket))
        self._weigh(start, (ROUND if bracket == "(" else SQUARE) if weight is None else weight)

    def _weigh(self, start: int, factor: float) -> None:
        self._parts[start:] = [
            Part(part.text, part.weight * factor, part.stretch) for part in self._parts[start:]
        ]

    def end(self) -> tuple[Part, ...]:
        for bracket, start in self._open:
            self._weigh(start, ROUND if bracket == "(" else SQUARE)
        joined: list[Part] = []
        for part in self._parts:
            before = joined[-1] if joined else None
            if before and (before.weight, before.stretch) == (part.weight, part.stretch):
                joined[-1] = Part(before.text + part.text, part.weight, part.stretch)
            else:
                joined.append(part)
        return tuple(joined)
