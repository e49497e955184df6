"""The chat task's deltas as OpenAI's `chat.completion.chunk`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onebox.api.openai.chat_answer import ChatResult, chat_finish, chat_logprobs
from onebox.api.openai.text_result import result_of, tokens_of
from onebox.api.openai.text_stream import ChunkWriter, encode
from onebox.services.request import Outcome

NULL = b"null"
# Deltas of nothing but text, which nearly all are.
TEXT_ONLY = {"index", "content"}


class ChatChunks(ChunkWriter):
    """`legacy`: calls are told in the old form, as `function_call`."""

    def __init__(
        self,
        head: Callable[[], dict[str, Any]],
        *,
        choices: int,
        include_usage: bool,
        legacy: bool,
    ) -> None:
        super().__init__(head, choices=choices, include_usage=include_usage)
        self._legacy = legacy
        self._begun: set[int] = set()

    def write(self, delta: dict[str, Any]) -> bytes:
        index = delta["index"]
        first = b"" if index in self._begun else self._first(index, delta)
        if delta.keys() == TEXT_ONLY:
            text = b'{"content":%b}' % encode(delta["content"])
            return first + self._chunk(_choice(index, text, NULL, NULL))
        reason = delta.get("finish_reason")
        told = self._told(delta)
        logprobs = NULL
        if "logprobs" in delta:
            logprobs = encode(chat_logprobs(tokens_of(delta["logprobs"])))
        if reason is None:
            return first + self._chunk(_choice(index, encode(told), logprobs, NULL))
        finish = encode(chat_finish(reason, self._legacy))
        return first + self._finishing(_choice(index, encode(told), logprobs, finish))

    def end(self, outcome: Outcome) -> bytes:
        return self._end(result_of(outcome, ChatResult))

    def _first(self, index: int, delta: dict[str, Any]) -> bytes:
        """The chunk that begins a choice, with the role."""
        self._begun.add(index)
        content = None if "tool_calls" in delta else ""
        begin = {"role": "assistant", "content": content, "refusal": None}
        return self._chunk(_choice(index, encode(begin), NULL, NULL))

    def _told(self, delta: dict[str, Any]) -> dict[str, Any]:
        told = {}
        if "content" in delta:
            told["content"] = delta["content"]
        if "reasoning" in delta:
            told["reasoning_content"] = delta["reasoning"]
        if "tool_calls" in delta and self._legacy:
            told["function_call"] = _function(delta["tool_calls"][0])
        elif "tool_calls" in delta:
            told["tool_calls"] = [_call(call) for call in delta["tool_calls"]]
        return told


def _choice(index: int, delta: bytes, logprobs: bytes, finish: bytes) -> bytes:
    return b'{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}' % (
        index,
        delta,
        logprobs,
        finish,
    )


def _call(call: dict[str, Any]) -> dict[str, Any]:
    told = {"index": call["index"], "function": _function(call)}
    return {**told, "id": call["id"], "type": "function"} if "id" in call else told


def _function(call: dict[str, Any]) -> dict[str, Any]:
    return {name: call[name] for name in ("name", "arguments") if name in call}
