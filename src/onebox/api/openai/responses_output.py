"""The output items of a response as they grow, and the events that tell of it."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator
from typing import Any

from onebox.api.openai.chat_answer import ChatChoice, TokenLogprob, chat_logprobs
from onebox.api.openai.responses_items import Item, new_id
from onebox.api.openai.text_result import ChosenToken, tokens_of

Event = dict[str, Any]

# Of an item with text: what its part is, and what its events are called.
TEXTS = {"message": "output_text", "reasoning": "reasoning_text"}


class OutputWriter:
    """Takes what the chat task tells of its one choice, in order. One item is open at a time."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._pieces: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._is_open = False

    def write(self, delta: dict[str, Any]) -> Iterator[Event]:
        """Must be gone through to its end, as `end` must."""
        if "reasoning" in delta:
            yield from self._text("reasoning", delta["reasoning"], [])
        if "content" in delta or "logprobs" in delta:
            tokens = tokens_of(delta.get("logprobs", []))
            yield from self._text("message", delta.get("content", ""), tokens)
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                yield from self._begin_call(call)
            if call.get("arguments"):
                self._pieces.append(call["arguments"])
                yield self._event("response.function_call_arguments.delta", delta=call["arguments"])

    def write_whole(self, choice: ChatChoice) -> None:
        """A choice that was not streamed."""
        if choice.reasoning:
            self._drain(self._text("reasoning", choice.reasoning, []))
        if choice.content or choice.logprobs:
            self._drain(self._text("message", choice.content or "", choice.logprobs or []))
        for call in choice.tool_calls:
            told = {"id": call.id, "name": call.name, "arguments": call.arguments}
            self._drain(self.write({"tool_calls": [told]}))

    def end(self, status: str) -> Iterator[Event]:
        """`status` is that of the last item. There is at least an empty message."""
        if not self.items:
            yield from self._begin_text("message")
        yield from self._close(status)

    def stop(self) -> None:
        """Cut off: what is open stays incomplete."""
        self._drain(self._close("incomplete"))

    def end_whole(self, status: str) -> None:
        self._drain(self.end(status))

    def _text(self, kind: str, text: str, tokens: list[ChosenToken]) -> Iterator[Event]:
        if not self._is_open or self.items[-1]["type"] != kind:
            yield from self._close("completed")
            yield from self._begin_text(kind)
        self._pieces.append(text)
        if kind == "reasoning":
            yield self._event("response.reasoning_text.delta", content_index=0, delta=text)
            return
        told = chat_logprobs(tokens)
        logprobs = told.content if told else []
        self._logprobs += logprobs
        yield self._event(
            "response.output_text.delta", content_index=0, delta=text, logprobs=logprobs
        )

    def _begin_text(self, kind: str) -> Iterator[Event]:
        item: Item = {"id": new_id(kind), "type": kind, "status": "in_progress", "content": []}
        own: Item = {"role": "assistant"} if kind == "message" else {"summary": []}
        yield self._begin({**item, **own})
        yield self._event(
            "response.content_part.added", content_index=0, part=_part(TEXTS[kind], "", [])
        )

    def _begin_call(self, call: dict[str, Any]) -> Iterator[Event]:
        yield from self._close("completed")
        yield self._begin(
            {
                "id": new_id("function_call"),
                "type": "function_call",
                "status": "in_progress",
                "call_id": call["id"] or f"call_{secrets.token_hex(12)}",
                "name": call["name"],
                "arguments": "",
            }
        )

    def _begin(self, item: Item) -> Event:
        self.items.append(item)
        self._is_open = True
        # A copy: the item goes on growing.
        return self._output_event("response.output_item.added", item=dict(item))

    def _close(self, status: str) -> Iterator[Event]:
        if not self._is_open:
            return
        item, text = self.items[-1], "".join(self._pieces)
        logprobs, self._logprobs = self._logprobs, []
        self._is_open = False
        self._pieces = []
        item["status"] = status
        if item["type"] == "function_call":
            item["arguments"] = text
            yield self._event(
                "response.function_call_arguments.done", name=item["name"], arguments=text
            )
        else:
            yield from self._close_text(item, text, logprobs)
        yield self._output_event("response.output_item.done", item=dict(item))

    def _close_text(self, item: Item, text: str, logprobs: list[TokenLogprob]) -> Iterator[Event]:
        kind = TEXTS[item["type"]]
        part = _part(kind, text, logprobs)
        item["content"] = [part]
        told = {"logprobs": logprobs} if kind == "output_text" else {}
        yield self._event(f"response.{kind}.done", content_index=0, text=text, **told)
        yield self._event("response.content_part.done", content_index=0, part=part)

    def _event(self, kind: str, **facts: Any) -> Event:
        return self._output_event(kind, item_id=self.items[-1]["id"], **facts)

    def _output_event(self, kind: str, **facts: Any) -> Event:
        return {"type": kind, "output_index": len(self.items) - 1, **facts}

    def _drain(self, events: Iterator[Event]) -> None:
        deque(events, 0)


def _part(kind: str, text: str, logprobs: list[TokenLogprob]) -> dict[str, Any]:
    part: dict[str, Any] = {"type": kind, "text": text}
    return part if kind == "reasoning_text" else {**part, "annotations": [], "logprobs": logprobs}
