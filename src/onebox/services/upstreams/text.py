"""`TextAnswer`: the text of another server, told as a task here tells it, and summed up at the end.

Its shapes are those of `language/answers`: deltas of one choice each, and a result of them all.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from onebox.core.results import Artifact
from onebox.services.upstreams.adapter import json_artifact

# The reasons that clients of ours know.
REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})
MAX_TOKENS = 10**9
# What one answer may be in memory, about: characters, and so many more for each piece.
MAX_TEXT = 64 * 1024 * 1024
PIECE = 64


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Choice:
    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: dict[int, _Call] = field(default_factory=dict)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    reason: str | None = None


class TextAnswer:
    """What is told of one request. Raises TypeError for what is no text, ValueError for too much
    of it.

    Args:
        field: what the text is called: "content" of a chat, "text" of a completion.
        choices: how many there will be.
        logprobs: whether they were asked for.
    """

    def __init__(
        self,
        tell: Callable[[dict[str, Any]], None],
        *,
        field: str,
        choices: int,
        logprobs: bool = False,
    ) -> None:
        self._tell = tell
        self._field = field
        self._has_logprobs = logprobs
        self._choices = [_Choice() for _ in range(choices)]
        self._usage: dict[str, int] = {}
        self._room = MAX_TEXT
        self.fingerprint = ""

    @property
    def ended(self) -> bool:
        """Whether every choice has come to its end."""
        return all(choice.reason is not None for choice in self._choices)

    def knows(self, index: Any) -> bool:
        """Whether a choice of that number was asked for, and is not at its end."""
        return (
            isinstance(index, int)
            and 0 <= index < len(self._choices)
            and self._choices[index].reason is None
        )

    def text(self, index: int, text: str, logprobs: list[dict[str, Any]] | None = None) -> None:
        if not _is_text(text) and not logprobs:
            return
        self._take(len(text) + PIECE * len(logprobs or ()))
        choice = self._choices[index]
        delta: dict[str, Any] = {"index": index, self._field: text}
        choice.texts.append(text)
        if logprobs and self._has_logprobs:
            choice.logprobs += logprobs
            delta["logprobs"] = logprobs
        self._tell(delta)

    def thought(self, index: int, text: str) -> None:
        if _is_text(text):
            self._take(len(text))
            self._choices[index].thoughts.append(text)
            self._tell({"index": index, "reasoning": text})

    def call(self, index: int, place: int, name: str, call_id: str, arguments: str) -> None:
        """The beginning of a tool call, where there is none at that place, or more of its
        arguments.
        """
        _is_text(name + call_id)
        self._take(len(name) + len(call_id) + len(arguments))
        calls = self._choices[index].calls
        if place not in calls:
            call = calls[place] = _Call(call_id or f"call_{secrets.token_hex(12)}", name)
            begin = {"index": place, "id": call.id, "name": call.name, "arguments": ""}
            self._tell({"index": index, "tool_calls": [begin]})
        if _is_text(arguments):
            calls[place].arguments.append(arguments)
            more = {"index": place, "arguments": arguments}
            self._tell({"index": index, "tool_calls": [more]})

    def calls(self, index: int) -> int:
        """How many tool calls a choice has so far."""
        return len(self._choices[index].calls)

    def finish(self, index: int, reason: str) -> None:
        choice = self._choices[index]
        choice.reason = reason if reason in REASONS else "stop"
        if choice.calls and choice.reason == "stop":
            choice.reason = "tool_calls"
        self._tell({"index": index, "finish_reason": choice.reason})

    def usage(self, counts: Mapping[str, int | None]) -> None:
        """Tokens, as far as they are told. They are charged for: raises TypeError for no count."""
        told = {name: count for name, count in counts.items() if count is not None}
        if not all(type(count) is int and 0 <= count <= MAX_TOKENS for count in told.values()):
            raise TypeError("usage is told in numbers of tokens")
        self._usage = told

    def _take(self, size: int) -> None:
        """One more piece."""
        self._room -= size + PIECE
        if self._room < 0:
            raise ValueError("the text has no end")

    def artifacts(self, seed: int | None) -> tuple[Artifact, ...]:
        """The result; nothing is said of a seed that the other server chose."""
        counts = {"prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0}
        usage = {**counts, **self._usage}
        choices = [self._value(index, choice) for index, choice in enumerate(self._choices)]
        return json_artifact(
            {
                "choices": choices,
                "usage": usage,
                "fingerprint": self.fingerprint,
                "seed": seed or 0,
            }
        )

    def _value(self, index: int, choice: _Choice) -> dict[str, Any]:
        text = "".join(choice.texts)
        told: dict[str, Any] = {
            "index": index,
            "finish_reason": choice.reason,
            self._field: None if choice.calls and not text else text,
            "logprobs": choice.logprobs if self._has_logprobs else None,
        }
        if choice.thoughts:
            told["reasoning"] = "".join(choice.thoughts)
        if self._field == "content":
            told["tool_calls"] = [
                {"id": call.id, "name": call.name, "arguments": "".join(call.arguments)}
                for _, call in sorted(choice.calls.items())
            ]
        return told


def _is_text(text: Any) -> bool:
    """Whether there is some. Raises TypeError for what is no text at all."""
    if not isinstance(text, str):
        raise TypeError("no text")
    return bool(text)
