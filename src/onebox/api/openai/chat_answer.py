"""The chat task's result as OpenAI's `chat.completion`."""

from __future__ import annotations

from typing import Literal

import msgspec

from onebox.api.openai.text_result import (
    ChosenToken,
    FinishReason,
    Likely,
    TextResult,
    Usage,
    logprob_of,
    usage_of,
)

ChatFinish = FinishReason | Literal["function_call"]


class Call(msgspec.Struct):
    id: str
    name: str
    arguments: str


class ChatChoice(msgspec.Struct):
    index: int
    finish_reason: FinishReason
    content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Call] = []
    logprobs: list[ChosenToken] | None = None


class ChatResult(TextResult):
    choices: list[ChatChoice]


class Function(msgspec.Struct):
    name: str
    arguments: str


class ToolCall(msgspec.Struct):
    id: str
    type: str
    function: Function


class ChatMessage(msgspec.Struct, omit_defaults=True):
    role: str
    content: str | None
    refusal: None
    annotations: list[str]
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    reasoning_content: str | None = None


class TopLogprob(msgspec.Struct):
    token: str
    bytes: list[int]
    logprob: float


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class Logprobs(msgspec.Struct):
    content: list[TokenLogprob]
    refusal: None = None


class Choice(msgspec.Struct):
    index: int
    message: ChatMessage
    logprobs: Logprobs | None
    finish_reason: ChatFinish


class ChatCompletion(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str


def chat_completion(
    result: ChatResult, *, answer_id: str, created: int, model: str, legacy: bool
) -> ChatCompletion:
    """`legacy`: calls are told in the old form, as `function_call`."""
    return ChatCompletion(
        id=answer_id,
        object="chat.completion",
        created=created,
        model=model,
        choices=[_choice(choice, legacy) for choice in result.choices],
        usage=usage_of(result.usage),
        system_fingerprint=result.fingerprint,
    )


def chat_finish(reason: FinishReason, legacy: bool) -> ChatFinish:
    return "function_call" if legacy and reason == "tool_calls" else reason


def chat_logprobs(tokens: list[ChosenToken] | None) -> Logprobs | None:
    return None if tokens is None else Logprobs([_token(token) for token in tokens])


def _choice(choice: ChatChoice, legacy: bool) -> Choice:
    calls = [Function(call.name, call.arguments) for call in choice.tool_calls]
    message = ChatMessage(
        role="assistant",
        content=choice.content,
        refusal=None,
        annotations=[],
        reasoning_content=choice.reasoning,
    )
    if legacy and calls:
        message.function_call = calls[0]
    elif calls:
        ids = [call.id for call in choice.tool_calls]
        message.tool_calls = [
            ToolCall(call_id, "function", call) for call_id, call in zip(ids, calls, strict=True)
        ]
    return Choice(
        index=choice.index,
        message=message,
        logprobs=chat_logprobs(choice.logprobs),
        finish_reason=chat_finish(choice.finish_reason, legacy),
    )


def _token(token: ChosenToken) -> TokenLogprob:
    return TokenLogprob(
        token.token, token.bytes, logprob_of(token), [_top(one) for one in token.top]
    )


def _top(token: Likely) -> TopLogprob:
    return TopLogprob(token.token, token.bytes, logprob_of(token))
