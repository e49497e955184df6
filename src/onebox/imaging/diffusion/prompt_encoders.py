"""The text encoders of SD, SDXL and SD3 pipelines, put together as each of these does."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from onebox.core.errors import InvalidInput
from onebox.imaging.diffusion.clip_prompts import ClipEncoder, Tokens, padded, weighted
from onebox.imaging.diffusion.inversions import holds
from onebox.imaging.diffusion.prompt_weights import Part

# Tokens that SD3's sentence encoder reads at once: as the pipeline does, and the most there may be.
SENTENCE = 256
LONG_SENTENCE = 512


class Length(NamedTuple):
    """Stretches of CLIP tokens, and tokens of the sentence encoder."""

    stretches: int
    sentence: int


SHORT = Length(1, SENTENCE)


def longest(lengths: Sequence[Length]) -> Length:
    return Length(max(a.stretches for a in lengths), max(a.sentence for a in lengths))


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt as tokens: for each CLIP encoder, and for the sentence encoder."""

    parts: tuple[Part, ...]
    clips: tuple[list[Tokens], ...]
    sentence: Tokens
    length: Length


@dataclass(frozen=True, slots=True)
class SentenceEncoder:
    """SD3's T5, or in its absence the zeros that stand for it."""

    tokenizer: Any
    model: Any
    width: int

    def tokens(self, parts: Sequence[Part], param: str) -> Tokens:
        """Raises InvalidInput for more than it can read."""
        if self.model is None:
            return []
        tokens: Tokens = []
        for part in parts:
            ids = self.tokenizer(part.text, add_special_tokens=False).input_ids
            tokens += [(token, part.weight) for token in ids]
        tokens.append((self.tokenizer.eos_token_id, 1.0))
        if len(tokens) > LONG_SENTENCE:
            raise too_long(len(tokens), LONG_SENTENCE, param)
        return tokens

    def encode(self, sentences: Sequence[Tokens], length: int, device: Any, dtype: Any) -> Any:
        """Vectors [n, length, width]."""
        import torch

        if self.model is None:
            return torch.zeros(len(sentences), length, self.width, device=device, dtype=dtype)
        vectors = self._run(sentences, length, device)
        weights = [[w for _, w in s] + [1.0] * (length - len(s)) for s in sentences]
        if any(weight != 1 for row in weights for weight in row):
            nothing = self._run([[(self.tokenizer.eos_token_id, 1.0)]], length, device)
            vectors = weighted(vectors, nothing, torch.tensor(weights, device=device))
        return vectors

    def _run(self, sentences: Sequence[Tokens], length: int, device: Any) -> Any:
        import torch

        pad = self.tokenizer.pad_token_id
        ids = [[token for token, _ in s] + [pad] * (length - len(s)) for s in sentences]
        return self.model(torch.tensor(ids, device=device))[0]


@dataclass(frozen=True, slots=True)
class Encoder:
    """What a pipeline encodes its prompts with.

    Attributes:
        sentence: only SD3 has one, in a row behind its CLIP encoders.
        empty_is_zero: whether no negative prompt means zeros, not what an empty text gives.
    """

    clips: tuple[ClipEncoder, ...]
    sentence: SentenceEncoder | None
    device: Any
    empty_is_zero: bool

    def read(self, parts: tuple[Part, ...], param: str) -> Reading:
        clips = tuple(clip.stretches(parts) for clip in self.clips)
        sentence = self.sentence.tokens(parts, param) if self.sentence else []
        tokens = LONG_SENTENCE if len(sentence) > SENTENCE else SENTENCE
        return Reading(parts, clips, sentence, Length(max(map(len, clips)), tokens))

    def has_placeholders(self, text: str) -> bool:
        """Whether a word of a textual inversion is in it."""
        return any(holds(text, word) for clip in self.clips for word in clip.placeholders)

    def encode(
        self, readings: Sequence[Reading], length: Length, skip: int | None
    ) -> dict[str, Any]:
        """Arguments of a pipeline's call: `prompt_embeds` [n, tokens, d], and what else it takes.

        Equal prompts are encoded once.
        """
        import torch

        different = list({reading.parts: reading for reading in readings}.values())
        numbers = {reading.parts: number for number, reading in enumerate(different)}
        rows = [numbers[reading.parts] for reading in readings]
        encoded = [
            clip.encode(
                [padded(r.clips[n], length.stretches) for r in different], skip, self.device
            )
            for n, clip in enumerate(self.clips)
        ]
        vectors = torch.cat([one.vectors for one in encoded], dim=-1)
        pooled = [one.pooled for one in encoded if one.pooled is not None]
        if self.sentence is not None:
            vectors = self._behind(vectors, [r.sentence for r in different], length.sentence)
        arguments = {"prompt_embeds": vectors[rows]}
        if pooled:
            arguments["pooled_prompt_embeds"] = torch.cat(pooled, dim=-1)[rows]
        return arguments

    def _behind(self, vectors: Any, sentences: Sequence[Tokens], length: int) -> Any:
        """CLIP's vectors, filled up to the width of the sentences', and those behind them."""
        import torch

        assert self.sentence is not None
        read = self.sentence.encode(sentences, length, vectors.device, vectors.dtype)
        missing = read.shape[-1] - vectors.shape[-1]
        return torch.cat([torch.nn.functional.pad(vectors, (0, missing)), read], dim=-2)


def create_encoder(pipeline: Any) -> Encoder | None:
    """None for a pipeline that does not read by CLIP alone, or lets nobody see how."""
    takes = inspect.signature(type(pipeline).__call__).parameters
    parts = pipeline.components
    # Pictures changed after an instruction are guided by CLIP too, in a pipeline without the field.
    by_instruction = "image_guidance_scale" in takes and "prompt_embeds" in takes
    if "clip_skip" not in takes and not by_instruction:
        return None
    several = "text_encoder_2" in parts
    pairs = [("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")]
    return Encoder(
        tuple(
            ClipEncoder(parts[tokenizer], parts[model], last=not several)
            for tokenizer, model in pairs
            if parts.get(model) is not None
        ),
        _sentence_encoder(pipeline) if "text_encoder_3" in parts else None,
        pipeline._execution_device,
        bool(several and pipeline.config.get("force_zeros_for_empty_prompt")),
    )


def too_long(tokens: int, limit: int, param: str) -> InvalidInput:
    return InvalidInput(
        f"the {param} has {tokens} tokens; this model reads {limit}: say it in fewer words",
        param=param,
        details={"tokens": tokens, "max": limit},
    )


def _sentence_encoder(pipeline: Any) -> SentenceEncoder:
    width = pipeline.transformer.config.joint_attention_dim
    return SentenceEncoder(pipeline.tokenizer_3, pipeline.text_encoder_3, width)
