"""Decoding one sequence after another with the model's own cache.

For models whose attention cannot be ours (state spaces, attention with extra terms) and for those
that look at pictures. Every sequence is a pass of its own, so none depends on another.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from onebox.core.decoding import NoRoom, Token, TokenSequence
from onebox.core.errors import AppError, ModelBroken
from onebox.language.decoding.quantize import model_bytes
from onebox.language.decoding.sampler import Sampler

CACHE_NAMES = ("past_key_values", "cache_params")
# What models with pictures keep about the last prompt on themselves, though it is the sequence's.
KEPT_ON_MODEL = "rope_deltas"


@dataclass(slots=True)
class _State:
    """A sequence's own cache, how many tokens are in it, and its bytes.

    Attributes:
        logits: [1, vocabulary] after those tokens, until the next one is chosen.
    """

    cache: Any
    computed: int
    size_bytes: int
    kept: Any
    logits: Any


class RowDecoder:
    """The `Decoder` of any other model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._sampler = Sampler()
        parameters = inspect.signature(model.forward).parameters
        self._cache_name = next((name for name in CACHE_NAMES if name in parameters), "")
        if not self._cache_name:
            raise ModelBroken(
                f"{type(model).__name__} has no cache from which a text is continued; take a model "
                "of another architecture"
            )
        self._tail = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
        self._token_bytes = _token_bytes(model)
        self._reserve: Callable[[int], bool] = lambda _: True
        self._fixed_mode: Callable[[], contextlib.AbstractContextManager[Any]]
        self._fixed_mode = contextlib.nullcontext
        self.used_bytes = 0
        self.size_bytes = model_bytes(model)

    def attach(
        self,
        reserve: Callable[[int], bool],
        keep_bytes: int,
        fixed_mode: Callable[[], contextlib.AbstractContextManager[Any]],
    ) -> None:
        self._reserve = reserve
        self._fixed_mode = fixed_mode

    def bytes_for(self, tokens: int) -> int:
        return tokens * self._token_bytes

    def step(
        self, sequences: Sequence[TokenSequence]
    ) -> list[tuple[TokenSequence, Token | AppError]]:
        import torch

        self._make_room(sequences)
        for sequence in sequences:
            # One that is complete waits for its token, since a later one failed the last time.
            if sequence.state is None or sequence.state.computed < len(sequence):
                with self._fixed_mode() if sequence.deterministic else contextlib.nullcontext():
                    self._compute(sequence)
        completed = [one for one in sequences if one.state.computed == len(one)]
        if not completed:
            return []
        tokens = self._sampler.sample(torch.cat([one.state.logits for one in completed]), completed)
        return list(zip(completed, tokens, strict=True))

    def drop(self, sequence: TokenSequence) -> None:
        if sequence.state is not None:
            self._count(-sequence.state.size_bytes)
            sequence.state = None

    def drop_kept(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        del self._model

    def _make_room(self, sequences: Sequence[TokenSequence]) -> None:
        new = sum(len(s) - (s.state.computed if s.state else 0) for s in sequences)
        if not self._reserve(self.used_bytes + self.bytes_for(new)):
            raise NoRoom

    def _compute(self, sequence: TokenSequence) -> None:
        """The logits after the tokens that were open."""
        import torch

        state: _State | None = sequence.state
        computed = state.computed if state else 0
        ids = [*sequence.prompt, *sequence.output][computed : self._end(sequence, computed)]
        inputs = self._pictures(sequence) if state is None else {}
        inputs["input_ids"] = torch.tensor([ids], device=self._model.device)
        if state is not None:
            inputs[self._cache_name] = state.cache
            self._restore(state.kept)
        try:
            with torch.inference_mode():
                answer = self._model(**inputs, **self._tail, use_cache=True)
        except BaseException:
            # Some layers may have the new tokens and others not.
            self.drop(sequence)
            raise
        cache = answer[self._cache_name]
        size_bytes = sum({id(t): t.nbytes for t in _tensors(cache)}.values())
        self._count(size_bytes - (state.size_bytes if state else 0))
        logits = answer.logits[:, -1].clone()
        sequence.state = _State(cache, computed + len(ids), size_bytes, self._kept(), logits)

    def _pictures(self, sequence: TokenSequence) -> dict[str, Any]:
        """What the processor made of them, where and as the model takes it."""
        model = self._model
        return {
            name: value.to(model.device, model.dtype if value.is_floating_point() else None)
            for name, value in (sequence.images or {}).items()
        }

    def _end(self, sequence: TokenSequence, computed: int) -> int:
        """A prompt goes in one piece, for not every cache can be continued by more than a token."""
        if computed > 0:
            return computed + 1
        # What was written before a pause is computed again token by token, as it was then.
        return len(sequence.prompt) if sequence.deterministic else len(sequence)

    def _kept(self) -> Any:
        return getattr(getattr(self._model, "model", None), KEPT_ON_MODEL, None)

    def _restore(self, kept: Any) -> None:
        if kept is not None:
            setattr(self._model.model, KEPT_ON_MODEL, kept)

    def _count(self, size_bytes: int) -> None:
        self.used_bytes += size_bytes
        self._reserve(self.used_bytes)


def _token_bytes(model: Any) -> int:
    """What a token takes in a cache of keys and values; models without one take less."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    if not heads:
        return 0
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    size = model.get_input_embeddings().weight.element_size()
    return int(config.num_hidden_layers * 2 * kv_heads * dim * size)


def _tensors(value: Any) -> Iterator[Any]:
    """All tensors of a cache, whatever it is built of."""
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif type(value).__module__.startswith("transformers"):
        yield from _tensors(vars(value))
