"""Control tokens that a client wrote out: found, and hidden from the tokenizer.

A control token such as <|im_end|> means the end of a turn when the chat template writes it, and is
nothing but its ten letters when a client does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from onebox.core.errors import InvalidInput

# Two planes of characters that nobody has given a meaning, and that no template looks at.
STAND_INS = (range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


def pattern_of(texts: Iterable[str]) -> re.Pattern[str] | None:
    """Finds the longest of these texts at a place. As a tree, for there may be thousands."""
    tree: dict[str, Any] = {}
    for text in texts:
        node = tree
        for char in text:
            node = node.setdefault(char, {})
        node[""] = {}
    return re.compile(_branch(tree)) if tree else None


def _branch(node: dict[str, Any]) -> str:
    """A chain is written out; the end of a text ("") is tried after all that is longer."""
    chain = ""
    while len(node) == 1 and "" not in node:
        char, node = next(iter(node.items()))
        chain += re.escape(char)
    branches = [re.escape(char) + _branch(below) for char, below in node.items() if char]
    if not branches:
        return chain
    return f"{chain}(?:{'|'.join(branches)}){'?' if '' in node else ''}"


def strings_of(value: Any) -> Iterator[str]:
    """Every text in a plain value, the names of its fields too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from strings_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_of(item)


def replaced(value: Any, pattern: re.Pattern[str], names: dict[str, str]) -> Any:
    """The value with each found text replaced by `names[text]`."""
    if isinstance(value, str):
        return pattern.sub(lambda found: names[found[0]], value)
    if isinstance(value, dict):
        return {
            replaced(key, pattern, names): replaced(item, pattern, names)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [replaced(item, pattern, names) for item in value]
    return value


class Hidden:
    """Plain values in which characters stand for control tokens, and what they stand for.

    Attributes:
        value: to be rendered in place of the original.
    """

    def __init__(self, value: Any, pattern: re.Pattern[str] | None, template: str) -> None:
        texts = list(strings_of(value)) if pattern else []
        found = sorted({text for one in texts for text in pattern.findall(one)}) if pattern else []
        self.value = value
        self._texts: dict[str, str] = {}
        if not found or pattern is None:
            return
        taken = {char for text in [*texts, template] for char in text if char >= chr(0xF0000)}
        free = (chr(code) for plane in STAND_INS for code in plane if chr(code) not in taken)
        names = dict(zip(found, free, strict=False))
        if len(names) < len(found):
            raise InvalidInput("the messages use every private character", param="messages")
        self.value = replaced(value, pattern, names)
        self._texts = {name: text for text, name in names.items()}

    def restore(self, rendered: str) -> tuple[str, list[tuple[int, int]]]:
        """The rendered text as it was meant, and the places (start, end) that are plain text."""
        if not self._texts:
            return rendered, []
        pieces: list[str] = []
        places: list[tuple[int, int]] = []
        length = 0
        for piece in re.split(f"([{''.join(self._texts)}])", rendered):
            text = self._texts.get(piece, piece)
            if piece in self._texts:
                places.append((length, length + len(text)))
            pieces.append(text)
            length += len(text)
        return "".join(pieces), places
