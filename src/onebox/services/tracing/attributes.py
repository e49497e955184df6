"""What a span says of a request to a model: OpenTelemetry's conventions for generative AI.

Never what was asked or answered: prompts and results stay out of traces.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from onebox.core.decoding import DecodeTask
from onebox.core.results import Artifact
from onebox.services.request import Prepared

Attributes = dict[str, str | bool | int | float | list[str]]

PROVIDER = "onebox"
# The conventions' own names of operations; any other is named as the task is.
OPERATIONS = {"chat": "chat", "completion": "text_completion", "embeddings": "embeddings"}
# By field of a task's input.
REQUEST = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "n": "gen_ai.request.choice.count",
}
# By media type; of the conventions' values, where there is one.
OUTPUTS = {"image": "image", "audio": "speech", "video": "video", "text": "text"}


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0


class _Text(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None


def operation_of(prepared: Prepared) -> str:
    return OPERATIONS.get(prepared.task.name, prepared.task.name)


def request_attributes(prepared: Prepared, *, streams: bool) -> Attributes:
    found: Attributes = {
        "gen_ai.operation.name": operation_of(prepared),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": prepared.entry.name,
        "onebox.task": prepared.task.name,
        "onebox.priority": prepared.options.priority,
    }
    if streams:
        found["gen_ai.request.stream"] = True
    for field, value in prepared.input:
        name = REQUEST.get(field)
        if name is not None and isinstance(value, int | float):
            found[name] = value
    return found


def result_attributes(prepared: Prepared, artifacts: tuple[Artifact, ...]) -> Attributes:
    """Of a request that ended well."""
    found: Attributes = {"gen_ai.response.model": prepared.entry.name}
    if isinstance(prepared.task, DecodeTask):
        found |= _text_attributes(artifacts)
    elif artifacts:
        kind = artifacts[0].media_type.split("/")[0]
        if kind in OUTPUTS:
            found["gen_ai.output.type"] = OUTPUTS[kind]
    return found


def _text_attributes(artifacts: tuple[Artifact, ...]) -> Attributes:
    found: Attributes = {"gen_ai.output.type": "text"}
    for artifact in artifacts:
        if artifact.data is None:
            continue
        text = msgspec.json.decode(artifact.data, type=_Text)
        reasons = [choice.finish_reason for choice in text.choices if choice.finish_reason]
        if reasons:
            found["gen_ai.response.finish_reasons"] = reasons
        if text.usage is not None:
            found |= _usage_attributes(text.usage)
    return found


def _usage_attributes(usage: _Usage) -> Mapping[str, int]:
    return {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
