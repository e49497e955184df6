"""Fields of the text tasks that OpenAI, and servers that speak like it, call by the same name."""

from __future__ import annotations

SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "seed",
    "stop",
    "n",
    "ignore_eos",
    "deterministic",
)
