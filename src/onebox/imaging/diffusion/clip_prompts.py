"""Prompts for CLIP text encoders: of any length, with weights, from any of the last layers.

A text is read in stretches of as many tokens as the encoder takes at once (75 and its two ends),
and what comes out is put in a row. A weight moves a token's vector away from, or towards, what the
encoder makes of an empty prompt in that place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onebox.core.errors import InvalidInput
from onebox.imaging.diffusion.inversions import Placeholders, pieces, placeholders_of
from onebox.imaging.diffusion.prompt_weights import Part

# How many tokens a stretch may end early for a comma, so that what belongs together stays so.
COMMA_REACH = 20

# Token ids and their weights.
Tokens = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class ClipEncoder:
    """One CLIP text encoder of a pipeline, and which of its layers the model was trained on.

    Attributes:
        last: whether the model takes the last layer (normalised) or the one before it (as it is).
    """

    tokenizer: Any
    model: Any
    last: bool

    @property
    def room(self) -> int:
        """Tokens of a stretch, without its two ends."""
        longest = min(self.tokenizer.model_max_length, self.model.config.max_position_embeddings)
        return int(longest) - 2

    @property
    def placeholders(self) -> Placeholders:
        """Words of textual inversions, which no tokenizer knows."""
        return placeholders_of(self.model)

    def stretches(self, parts: Sequence[Part]) -> list[Tokens]:
        """The tokens of a prompt, cut where the encoder's sight ends. At least one stretch."""
        cut: list[Tokens] = []
        for number in range(max((part.stretch for part in parts), default=0) + 1):
            cut += self._cut(self._tokens([p for p in parts if p.stretch == number]))
        return cut

    def encode(self, texts: Sequence[list[Tokens]], skip: int | None, device: Any) -> Encoded:
        """What the encoder makes of texts of equal numbers of stretches.

        Raises InvalidInput when there are fewer layers than are to be skipped.
        """
        import torch

        self._check_skip(skip)
        rows = [stretch for text in texts for stretch in text]
        weights = [self._weights(row) for row in rows]
        hidden, pooled = self._run(torch.tensor([self._ids(r) for r in rows], device=device), skip)
        if any(weight != 1 for row in weights for weight in row):
            nothing, _ = self._run(torch.tensor([self._ids([])], device=device), skip)
            hidden = weighted(hidden, nothing, torch.tensor(weights, device=device))
        first = range(0, len(rows), len(texts[0]))
        return Encoded(
            hidden.reshape(len(texts), -1, hidden.shape[-1]),
            None if pooled is None else pooled[list(first)],
        )

    def _tokens(self, parts: Sequence[Part]) -> Tokens:
        tokens: Tokens = []
        for part in parts:
            for piece in pieces(part.text, self.placeholders):
                tokens += [(token, part.weight) for token in self._ids_of(piece)]
        return tokens

    def _ids_of(self, piece: str | tuple[int, ...]) -> Sequence[int]:
        if isinstance(piece, tuple):
            return piece
        ids: list[int] = self.tokenizer(piece, add_special_tokens=False).input_ids
        return ids

    def _cut(self, tokens: Tokens) -> list[Tokens]:
        comma = self.tokenizer.convert_tokens_to_ids(",</w>")
        cut: list[Tokens] = []
        while len(tokens) > self.room:
            near = range(self.room - 1, max(0, self.room - 1 - COMMA_REACH), -1)
            commas = (place + 1 for place in near if tokens[place][0] == comma)
            end = next(commas, self.room)
            cut.append(tokens[:end])
            tokens = tokens[end:]
        return [*cut, tokens]

    def _ids(self, stretch: Tokens) -> list[int]:
        tokens = [token for token, _ in stretch]
        ids = [self.tokenizer.bos_token_id, *tokens, self.tokenizer.eos_token_id]
        return ids + [self.tokenizer.pad_token_id] * (self.room + 2 - len(ids))

    def _weights(self, stretch: Tokens) -> list[float]:
        weights = [1.0, *(weight for _, weight in stretch)]
        return weights + [1.0] * (self.room + 2 - len(weights))

    def _run(self, ids: Any, skip: int | None) -> tuple[Any, Any]:
        """Vectors [n, tokens, d] of the chosen layer; those of whole rows too, if there are any."""
        mask = None
        if getattr(self.model.config, "use_attention_mask", False):
            ends = (ids == self.tokenizer.eos_token_id).int().argmax(-1, keepdim=True)
            mask = (ids.new_tensor(range(ids.shape[1])) <= ends).long()
        out = self.model(ids, attention_mask=mask, output_hidden_states=True)
        pooled = out[0] if out[0].ndim == 2 else None
        if not self.last:
            return out.hidden_states[-(2 + (skip or 0))], pooled
        if not skip:
            return out[0], pooled
        # transformers moved it in 5.6.
        inner = getattr(self.model, "text_model", self.model)
        return inner.final_layer_norm(out.hidden_states[-(1 + skip)]), pooled

    def _check_skip(self, skip: int | None) -> None:
        most = self.model.config.num_hidden_layers - (1 if self.last else 2)
        if skip is not None and skip > most:
            raise InvalidInput(
                f"clip_skip {skip} leaves no layer of the text encoder; the most is {most}",
                param="clip_skip",
                details={"max": most},
            )


@dataclass(frozen=True, slots=True)
class Encoded:
    """Vectors [n, tokens, d] of n texts, and one vector [n, d] for the whole of each, or none."""

    vectors: Any
    pooled: Any


def weighted(vectors: Any, nothing: Any, weights: Any) -> Any:
    """Vectors [n, tokens, d] moved by weights [n, tokens] from an empty text's [1, tokens, d].

    What has the weight 1 keeps every bit.
    """
    import torch

    weights = weights[..., None].to(vectors.dtype)
    return torch.where(weights == 1, vectors, nothing + (vectors - nothing) * weights)


def padded(text: list[Tokens], stretches: int) -> list[Tokens]:
    """The text with empty stretches behind it."""
    empty: list[Tokens] = [[] for _ in range(stretches - len(text))]
    return [*text, *empty]
