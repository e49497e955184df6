"""How a text is continued: the fields that every text task takes, and their resolved values."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field

from onebox.core.contracts import Entry

MAX_CHOICES = 16
MAX_STOPS = 16
MAX_BIASES = 1024
MAX_TOP_LOGPROBS = 20
# A score is divided by it: below this it may end beyond what a float holds.
MIN_REPETITION_PENALTY = 0.001
SEED_BITS = 63

# What a request leaves open when neither it, nor the checkpoint's `onebox.toml` (`[defaults]`), nor
# its generation_config.json says.
DEFAULTS: Mapping[str, float] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
}


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else ([] if value is None else value)


Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Stop = Annotated[str, Field(min_length=1, max_length=500)]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen; nothing is left open.

    Attributes:
        temperature: 0 is greedy.
        top_k: 0 is off.
        seed: of this one sequence.
        top_logprobs: how many alternatives are reported; None: no log-probabilities at all.
    """

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    frequency_penalty: float
    presence_penalty: float
    repetition_penalty: float
    logit_bias: Mapping[int, float]
    seed: int
    top_logprobs: int | None


class SamplingFields(BaseModel):
    """The part of a text task's input that says how the text is continued.

    `seed`: choice i of a request uses seed + i. None of the open fields is None once `resolved`.
    """

    max_tokens: int | None = Field(
        None, ge=0, le=1_048_576, description="At most; default: what the context has left."
    )
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    top_k: int | None = Field(None, ge=0, le=1_000_000)
    min_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    frequency_penalty: float = Field(0.0, ge=-2, le=2, allow_inf_nan=False)
    presence_penalty: float = Field(0.0, ge=-2, le=2, allow_inf_nan=False)
    repetition_penalty: float | None = Field(
        None, ge=MIN_REPETITION_PENALTY, le=10, allow_inf_nan=False
    )
    logit_bias: dict[int, Bias] = Field({}, max_length=MAX_BIASES)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Annotated[list[Stop], BeforeValidator(_as_list)] = Field([], max_length=MAX_STOPS)
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    top_logprobs: int | None = Field(
        None, ge=0, le=MAX_TOP_LOGPROBS, description="Log-probabilities, with so many others."
    )
    ignore_eos: bool = False
    deterministic: bool = False

    def resolved(self, entry: Entry) -> Self:
        """With everything but `max_tokens` filled in, which depends on the prompt's tokens."""
        own: Mapping[str, Any] = entry.overrides.get("defaults", {})
        shipped: Mapping[str, Any] = entry.facts.get("defaults", {})
        filled: dict[str, Any] = {
            name: own.get(name, shipped.get(name, default))
            for name, default in DEFAULTS.items()
            if getattr(self, name) is None
        }
        if self.seed is None:
            filled["seed"] = secrets.randbits(SEED_BITS - 1)
        return self.model_copy(update=filled)

    def sampling(self, choice: int) -> Sampling:
        """For choice number `choice` of a resolved input."""
        assert self.temperature is not None
        assert self.top_p is not None
        assert self.top_k is not None
        assert self.min_p is not None
        assert self.repetition_penalty is not None
        assert self.seed is not None
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias=self.logit_bias,
            seed=(self.seed + choice) % 2**64,
            top_logprobs=self.top_logprobs,
        )
