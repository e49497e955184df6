"""The completion task's result and deltas as OpenAI's `text_completion`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from onebox.api.openai.text_result import (
    ChosenToken,
    TextResult,
    Usage,
    logprob_of,
    result_of,
    tokens_of,
    usage_of,
)
from onebox.api.openai.text_stream import ChunkWriter, encode
from onebox.services.request import Outcome

NULL = b"null"


class CompletionChoice(msgspec.Struct):
    index: int
    text: str
    finish_reason: Literal["stop", "length", "content_filter"]
    logprobs: list[ChosenToken] | None = None


class CompletionResult(TextResult):
    choices: list[CompletionChoice]


class TextLogprobs(msgspec.Struct):
    """One item a token; `top_logprobs` holds the chosen token too."""

    text_offset: list[int]
    token_logprobs: list[float]
    tokens: list[str]
    top_logprobs: list[dict[str, float]]


class TextChoice(msgspec.Struct):
    text: str
    index: int
    logprobs: TextLogprobs | None
    finish_reason: str


class Completion(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage
    system_fingerprint: str


def completion(result: CompletionResult, head: dict[str, Any]) -> Completion:
    """`head`: id, object, created and model."""
    return Completion(
        **head,
        choices=[
            TextChoice(
                choice.text, choice.index, text_logprobs(choice.logprobs), choice.finish_reason
            )
            for choice in result.choices
        ],
        usage=usage_of(result.usage),
        system_fingerprint=result.fingerprint,
    )


def text_logprobs(tokens: list[ChosenToken] | None) -> TextLogprobs | None:
    if tokens is None:
        return None
    return TextLogprobs(
        text_offset=[token.offset for token in tokens],
        token_logprobs=[logprob_of(token) for token in tokens],
        tokens=[token.token for token in tokens],
        top_logprobs=[
            {likely.token: logprob_of(likely) for likely in (*token.top, token)} for token in tokens
        ],
    )


class CompletionChunks(ChunkWriter):
    def write(self, delta: dict[str, Any]) -> bytes:
        logprobs = NULL
        if "logprobs" in delta:
            logprobs = encode(text_logprobs(tokens_of(delta["logprobs"])))
        reason = delta.get("finish_reason")
        choice = b'{"text":%b,"index":%d,"logprobs":%b,"finish_reason":%b}' % (
            encode(delta.get("text", "")),
            delta["index"],
            logprobs,
            encode(reason),
        )
        return self._chunk(choice) if reason is None else self._finishing(choice)

    def end(self, outcome: Outcome) -> bytes:
        return self._end(result_of(outcome, CompletionResult))
