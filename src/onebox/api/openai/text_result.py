"""What text tasks answer, as the gateway reads it, and the parts of OpenAI's answers made of it."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from onebox.services.request import Outcome

# Less likely than this is not told apart; JSON has no word for minus infinity.
LEAST_LOGPROB = -9999.0

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
ResultT = TypeVar("ResultT", bound="TextResult")


class Likely(msgspec.Struct):
    """One of the likeliest tokens at a place. `logprob` is None for minus infinity."""

    token: str
    bytes: list[int]
    logprob: float | None


class ChosenToken(Likely):
    """`offset`: characters of text before it, where the task counts them."""

    top: list[Likely] = []
    offset: int = 0


class Counts(msgspec.Struct):
    """Tokens. `cached_tokens` of the prompt's had not to be computed."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class TextResult(msgspec.Struct):
    """`fingerprint`: of weights, dtype and versions. `seed`: of the first choice."""

    usage: Counts
    fingerprint: str
    seed: int


class PromptDetails(msgspec.Struct):
    cached_tokens: int


class CompletionDetails(msgspec.Struct):
    reasoning_tokens: int


class Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


def result_of(outcome: Outcome, kind: type[ResultT]) -> ResultT:
    """The one JSON value that a text task answers."""
    (artifact,) = outcome.artifacts
    return msgspec.json.decode(artifact.data or b"", type=kind)


def usage_of(counts: Counts) -> Usage:
    return Usage(
        prompt_tokens=counts.prompt_tokens,
        completion_tokens=counts.completion_tokens,
        total_tokens=counts.prompt_tokens + counts.completion_tokens,
        prompt_tokens_details=PromptDetails(counts.cached_tokens),
        completion_tokens_details=CompletionDetails(counts.reasoning_tokens),
    )


def tokens_of(data: Any) -> list[ChosenToken]:
    """The tokens that a delta holds."""
    return msgspec.convert(data, list[ChosenToken])


def logprob_of(token: Likely) -> float:
    return LEAST_LOGPROB if token.logprob is None else max(token.logprob, LEAST_LOGPROB)
