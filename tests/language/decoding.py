"""Decoders of tiny random models, and texts written with them as the engine does it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from onebox.core.contracts import Device, Entry
from onebox.core.decoding import Token, TokenSequence
from onebox.language.decoding.decoder import create_decoder
from onebox.language.sampling import Sampling
from tests.families.tiny_language_models import VOCAB
from tests.language.sequences import OPEN

KEEP_BYTES = 1 << 26
CPU = Device(
    id="cpu",
    kind="cpu",
    name="CPU",
    torch_device="cpu",
    pool="host",
    total_bytes=1 << 40,
    free_bytes=1 << 40,
    dtype="float32",
    vae_dtype="float32",
)


def entry(**overrides: Any) -> Entry:
    return Entry(
        key="tiny",
        name="tiny",
        path="/tiny",
        extension="",
        size_bytes=1,
        status="ready",
        overrides=overrides,
    )


def model(config: Any, dtype: torch.dtype = torch.float32) -> Any:
    """Its weights are large enough for its words to depend on those far before them."""
    torch.manual_seed(0)
    # A copy, for it says which attention a model has, and its decoder may change that.
    made = AutoModelForCausalLM.from_config(deepcopy(config), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
            else:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    made.generation_config.eos_token_id = None
    return made.to(dtype)


def decoder_of(
    config: Any, dtype: torch.dtype = torch.float32, keep_bytes: int = KEEP_BYTES, **overrides: Any
) -> Any:
    """Of a configuration, or of what makes a model."""
    load = config if callable(config) else lambda: model(config, dtype)
    made = create_decoder(load, entry(**overrides), CPU)
    made.attach(lambda _: True, keep_bytes, contextlib.nullcontext)
    return made


def prompt(length: int, seed: int = 0, vocabulary: int = VOCAB) -> list[int]:
    generator = torch.Generator().manual_seed(1000 * seed + length)
    return torch.randint(vocabulary, (length,), generator=generator).tolist()


def text(
    ids: Sequence[int], tokens: int = 10, *, deterministic: bool = False, **sampling: Any
) -> TokenSequence:
    """Greedy unless it is told otherwise."""
    values = Sampling(**{**OPEN, "temperature": 0.0, **sampling})
    return TokenSequence(
        prompt=ids, max_tokens=tokens, sampling=values, deterministic=deterministic
    )


def take(sampled: Iterable[tuple[TokenSequence, Any]], decoder: Any) -> None:
    for sequence, token in sampled:
        assert isinstance(token, Token), token
        sequence.output.append(token.id)
        if len(sequence.output) == sequence.max_tokens:
            sequence.finish_reason = "length"
            decoder.drop(sequence)


def write(
    decoder: Any,
    sequences: Sequence[TokenSequence],
    joins: Sequence[int] | None = None,
    between: Callable[[int], None] = lambda _: None,
) -> list[list[int]]:
    """All their outputs; sequence i joins before step `joins[i]`. `between` is told each step."""
    starts = joins or [0] * len(sequences)
    step = 0
    while any(sequence.finish_reason is None for sequence in sequences):
        active = [
            sequence
            for sequence, start in zip(sequences, starts, strict=True)
            if start <= step and sequence.finish_reason is None
        ]
        take(decoder.step(active), decoder)
        between(step)
        step += 1
        assert step < 5000
    return [sequence.output for sequence in sequences]


def generated(made: Any, ids: Sequence[int], tokens: int) -> list[int]:
    """What the library writes."""
    inputs = torch.tensor([list(ids)])
    with torch.inference_mode():
        out = made.generate(
            inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=tokens, do_sample=False
        )
    return out[0, len(ids) :].tolist()


def logprobs(made: Any, ids: Sequence[int], output: Sequence[int]) -> list[float]:
    """Of each token of an output, by the library."""
    with torch.inference_mode():
        logits = made(input_ids=torch.tensor([[*ids, *output]])).logits[0, len(ids) - 1 : -1]
    chosen = torch.tensor(output)[:, None]
    return logits.float().log_softmax(-1).gather(1, chosen)[:, 0].tolist()
