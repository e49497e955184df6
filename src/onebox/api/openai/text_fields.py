"""What OpenAI's text routes take alike: sampling, streaming, hints, and what is refused by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from onebox.api.options import RequestOptions
from onebox.core.errors import InvalidInput
from onebox.core.sampling_fields import SAMPLING
from onebox.language.sampling import (
    MAX_BIASES,
    MAX_CHOICES,
    MAX_STOPS,
    MIN_REPETITION_PENALTY,
    Bias,
    Stop,
)

TokenId = Annotated[int, Field(ge=0, lt=2**31)]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class StreamOptions(BaseModel):
    """`include_obfuscation` is accepted, without effect."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class TextFields(RequestOptions):
    """OpenAI's fields, and ours (`top_k`, `min_p`, `repetition_penalty`, `ignore_eos`,
    `deterministic`, `timeout_s`, `priority`) through `extra_body`. null is the same as left out.
    """

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, max_length=512)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    frequency_penalty: float | None = Field(None, ge=-2, le=2, allow_inf_nan=False)
    presence_penalty: float | None = Field(None, ge=-2, le=2, allow_inf_nan=False)
    logit_bias: dict[TokenId, Bias] | None = Field(None, max_length=MAX_BIASES)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Annotated[list[Stop] | None, BeforeValidator(_as_list)] = Field(
        None, max_length=MAX_STOPS, description="A string, or a list of them."
    )
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    user: Any = None
    top_k: int | None = Field(None, ge=0, le=1_000_000)
    min_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    repetition_penalty: float | None = Field(
        None, ge=MIN_REPETITION_PENALTY, le=10, allow_inf_nan=False
    )
    ignore_eos: bool | None = None
    deterministic: bool | None = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def sampling_of(body: TextFields) -> dict[str, Any]:
    """What the body says of how the text is continued, as fields of a task's input."""
    return {name: value for name in SAMPLING if (value := getattr(body, name)) is not None}


def refuse_fields(body: TextFields, names: Iterable[str]) -> None:
    """Raises InvalidInput with those of the fields that were given; null is not given."""
    refused = [name for name in names if getattr(body, name) is not None]
    if refused:
        raise InvalidInput(
            f"{refused[0]} is not supported by this server",
            param=refused[0],
            details={"unsupported": refused},
        )
    if body.stream_options is not None and not body.stream:
        raise InvalidInput("stream_options needs stream=true", param="stream_options")
