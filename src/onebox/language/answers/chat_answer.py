"""`ChatAnswer`: an answer with thoughts and tool calls beside its text."""

from __future__ import annotations

from typing import Any, ClassVar

from onebox.core.decoding import FinishReason, Token
from onebox.language.answers.answer import Answer
from onebox.language.answers.detokenizer import Decoder
from onebox.language.answers.reasoning import Reasoning
from onebox.language.answers.tool_calls import (
    ArgumentsPiece,
    CallStart,
    ContentPiece,
    Piece,
    ToolCallParser,
)


class ChatAnswer(Answer):
    """Log-probabilities cover the content up to the first call; thoughts and calls have none.

    Args:
        reasoning: for models that think aloud.
        calls: reads tool calls; None where there are no tools.
        parallel: the answer may have several calls; otherwise it ends before the second.
        options: those of Answer.
    """

    field: ClassVar[str] = "content"

    def __init__(
        self,
        tokenizer: Decoder,
        *,
        reasoning: Reasoning | None = None,
        calls: ToolCallParser | None = None,
        parallel: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(tokenizer, **options)
        self._reasoning = reasoning
        self._parser = calls
        self._parallel = parallel
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._arguments: list[list[str]] = []
        self._full = False

    def add(self, token: Token) -> bool:
        reasoning = self._reasoning
        if reasoning is not None and not reasoning.is_over:
            self.reasoning_tokens += 1
        return super().add(token) or self._full

    def finish(self, *, cut: bool) -> None:
        super().finish(cut=cut)
        if self._reasoning is not None:
            self._pass_on(*self._reasoning.finish())
            if not self._thoughts:
                self.reasoning_tokens = 0
        if self._parser is not None:
            self._read(self._parser.finish())

    def reason(self, reason: FinishReason) -> FinishReason:
        return "tool_calls" if self._calls and reason == "stop" else reason

    def value(self) -> dict[str, Any]:
        """`content` is None where there are only calls; `reasoning` is there for thoughts alone."""
        value = super().value()
        if self._calls and not value["content"]:
            value["content"] = None
        if self._thoughts:
            value["reasoning"] = "".join(self._thoughts)
        value["tool_calls"] = [
            {**call, "arguments": "".join(texts)}
            for call, texts in zip(self._calls, self._arguments, strict=True)
        ]
        return value

    def _take(self, text: str) -> None:
        if self._reasoning is None:
            self._pass_on("", text)
        else:
            self._pass_on(*self._reasoning.feed(text))

    def _pass_on(self, thought: str, text: str) -> None:
        if thought:
            self._thoughts.append(thought)
            self._deltas.append({"reasoning": thought})
        if not text:
            return
        if not self._sent and self._reasoning is not None:
            self._sent = self._reasoning.skipped or 0
            if self._log is not None:
                self._log.skip(self._sent)
        if self._parser is None:
            self._send(text)
        else:
            self._read(self._parser.feed(text))

    def _read(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if self._full:
                return
            match piece:
                case ContentPiece():
                    self._send(piece.text)
                case CallStart():
                    self._start_call(piece)
                case ArgumentsPiece():
                    self._arguments[piece.index].append(piece.text)
                    self._tell_call({"index": piece.index, "arguments": piece.text})

    def _start_call(self, start: CallStart) -> None:
        if self._calls and not self._parallel:
            self._full = True
            return
        self._log = None
        call = {"id": start.id, "name": start.name}
        self._calls.append(call)
        self._arguments.append([])
        self._tell_call({"index": start.index, **call, "arguments": ""})

    def _tell_call(self, change: dict[str, Any]) -> None:
        self._deltas.append({"tool_calls": [change]})
