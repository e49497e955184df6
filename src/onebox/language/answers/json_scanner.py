"""Follows a JSON object as it is written, one character after another."""

from __future__ import annotations

import json
import re
from typing import Literal

# A number may end after any of these, and may still grow after some of them.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMBER_START = re.compile(
    r"-?(?:(?:0|[1-9][0-9]*)(?:\.(?:[0-9]+(?:[eE](?:[+-]?[0-9]*)?)?)?|[eE](?:[+-]?[0-9]*)?)?)?"
)
_WORDS = ("true", "false", "null")
_NUMBER_CHARS = frozenset("+-.0123456789eE")
_ESCAPES = frozenset('"\\/bfnrt')
_HEX = frozenset("0123456789abcdefABCDEF")
_BLANK = frozenset(" \t\n\r")
_CLOSERS = {"{": "}", "[": "]"}
MAX_DEPTH = 64

Expected = Literal["value", "value or end", "key", "key or end", "colon", "comma or end", "nothing"]


class ObjectScanner:
    """The text of one JSON object so far, and where its outermost members lie in it.

    Attributes:
        members: (start, end) of each finished value of the outermost object, by name.
        open_member: name and start of the value that is being written, if one is.
    """

    def __init__(self) -> None:
        self.members: dict[str, tuple[int, int]] = {}
        self.open_member: tuple[str, int] | None = None
        self._chars: list[str] = []
        self._nesting: list[str] = []
        self._expected: Expected = "value"
        self._scalar: str | None = None  # A number or a word, as far as it is written.
        self._string: Literal["key", "value"] | None = None
        self._escape = ""
        self._name = ""
        self._name_start = 0

    def __len__(self) -> int:
        return len(self._chars)

    @property
    def done(self) -> bool:
        return self._expected == "nothing"

    def feed(self, text: str) -> int:
        """How many characters belong to the object: all of them unless it ends (`done`), or the
        next one cannot follow.
        """
        for count, char in enumerate(text):
            if self.done or not self._accept(char):
                return count
            self._chars.append(char)
        return len(text)

    def text(self, start: int = 0, end: int | None = None) -> str:
        """What was accepted, or a part of it."""
        return "".join(self._chars[start:end])

    def value(self, name: str) -> str | None:
        """The text of a finished member."""
        span = self.members.get(name)
        return None if span is None else self.text(*span)

    def _accept(self, char: str) -> bool:
        if self._string is not None:
            return self._in_string(char)
        if self._scalar is not None:
            if char in _NUMBER_CHARS or char.isalpha():
                return self._in_scalar(char)
            if not _is_scalar(self._scalar):
                return False
            self._scalar = None
            self._value_ended(len(self))
        if char in _BLANK:
            return True
        if char in _CLOSERS.values():
            return self._close(char)
        return self._begin(char)

    def _begin(self, char: str) -> bool:
        expected = self._expected
        if expected in ("key", "key or end"):
            self._string, self._name_start = "key", len(self)
            return char == '"'
        if expected in ("colon", "comma or end"):
            return self._punctuation(char)
        return expected in ("value", "value or end") and self._begin_value(char)

    def _punctuation(self, char: str) -> bool:
        if self._expected == "colon":
            self._expected = "value"
            return char == ":"
        self._expected = "key" if self._nesting[-1] == "{" else "value"
        return char == ","

    def _begin_value(self, char: str) -> bool:
        if len(self._nesting) == 1:
            self.open_member = (self._name, len(self))
        if char in _CLOSERS:
            self._nesting.append(char)
            self._expected = "key or end" if char == "{" else "value or end"
            return len(self._nesting) <= MAX_DEPTH
        if not self._nesting:
            return False
        if char == '"':
            self._string = "value"
            return True
        self._scalar = ""
        return self._in_scalar(char)

    def _close(self, char: str) -> bool:
        may_end = self._expected in ("comma or end", "key or end", "value or end")
        if not may_end or not self._nesting or _CLOSERS[self._nesting[-1]] != char:
            return False
        self._nesting.pop()
        self._value_ended(len(self) + 1)
        return True

    def _value_ended(self, end: int) -> None:
        if len(self._nesting) == 1 and self.open_member is not None:
            name, start = self.open_member
            self.members[name] = (start, end)
            self.open_member = None
        self._expected = "comma or end" if self._nesting else "nothing"

    def _in_scalar(self, char: str) -> bool:
        self._scalar = (self._scalar or "") + char
        is_word = any(word.startswith(self._scalar) for word in _WORDS)
        return is_word or _NUMBER_START.fullmatch(self._scalar) is not None

    def _in_string(self, char: str) -> bool:
        if self._escape:
            return self._in_escape(char)
        if char == '"':
            return self._string_ended()
        if char == "\\":
            self._escape = char
        return char >= " "

    def _in_escape(self, char: str) -> bool:
        self._escape += char
        if len(self._escape) == 2:
            if char != "u":
                self._escape = ""
            return char == "u" or char in _ESCAPES
        if len(self._escape) == 6:
            self._escape = ""
        return char in _HEX

    def _string_ended(self) -> bool:
        """False for the second member of a name: readers differ in which of two they take."""
        is_key, self._string = self._string == "key", None
        if not is_key:
            self._value_ended(len(self) + 1)
            return True
        self._expected = "colon"
        if len(self._nesting) == 1:
            self._name = json.loads(self.text(self._name_start) + '"')
        return len(self._nesting) > 1 or self._name not in self.members


def _is_scalar(text: str) -> bool:
    return text in _WORDS or _NUMBER.fullmatch(text) is not None
