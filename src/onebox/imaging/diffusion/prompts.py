"""Prompts as the arguments of a pipeline's call.

Short plain prompts are left to the pipeline. For models that read by CLIP (SD, SDXL, SD3), longer
ones, weighted ones and skipped layers are encoded here. Other models read whole sentences: they
take no weights, and no more text than their encoder reads.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from onebox.core.errors import InvalidInput
from onebox.imaging.diffusion.prompt_encoders import (
    SHORT,
    Encoder,
    Length,
    Reading,
    create_encoder,
    longest,
    too_long,
)
from onebox.imaging.diffusion.prompt_weights import is_plain, plain_sentence, read_weights
from onebox.imaging.diffusion.recipe import Picture, Recipe

# Tokens of a sentence, where the pipeline's call does not tell them, or too many.
SENTENCES: Mapping[str, int] = {"HunyuanDiTPipeline": 256, "SanaPipeline": 299}
# Pipelines that put a sentence into a chat's turn, by how their names begin, and whether the model
# is to think first.
IN_TURNS: Mapping[str, bool] = {"ZImage": True, "Flux2Klein": False}
# Those that fill a prompt up to the longest beside it, with what the encoder reads too; and to how
# many tokens any.
FILLING: Mapping[str, int] = {"CogView4Pipeline": 16}
SHORT_READERS = ("CLIP", "Bert")


def prompt_arguments(view: Any, pictures: Sequence[Picture], recipe: Recipe) -> dict[str, Any]:
    """Prompts, or what the text encoders make of them, for one call of `view`.

    The pictures are of one length: see `of_one_length`. Raises InvalidInput for what the model's
    text encoders cannot do.
    """
    encoder = create_encoder(view)
    takes = inspect.signature(type(view).__call__).parameters
    if any(picture.negative_prompt for picture in pictures) and not _heeds_negative(recipe, takes):
        raise InvalidInput(
            f"{type(view).__name__} takes no negative prompt: say in the prompt what to show",
            param="negative_prompt",
        )
    if encoder is None:
        return _sentences(view, pictures, recipe, takes)
    pairs = [_Pair(encoder, picture, recipe) for picture in pictures]
    special = recipe.clip_skip is not None or not all(pair.is_short_and_plain for pair in pairs)
    if special or (encoder.empty_is_zero and _some_have_none(pictures)):
        return _encoded(encoder, pairs, recipe.clip_skip, takes)
    return _prompts(pictures)


def of_one_length(
    pipeline: Any, pictures: Sequence[Picture], recipe: Recipe
) -> list[list[Picture]]:
    """The pictures, in their order, cut where the length of what their encoders give changes.

    Beside a longer neighbour a prompt would be filled up, and its picture would be another one.
    """
    encoder = create_encoder(pipeline)
    if encoder is None:
        return _of_one_filling(pipeline, pictures, recipe)
    cut = groupby(pictures, key=lambda picture: _Pair(encoder, picture, recipe).length)
    return [list(group) for _, group in cut]


class _Pair:
    """The prompt and the negative prompt of a picture; the latter is None where none counts."""

    def __init__(self, encoder: Encoder, picture: Picture, recipe: Recipe) -> None:
        negative = picture.negative_prompt or ""
        texts = picture.prompt, negative
        self._plain = not any(encoder.has_placeholders(text) for text in texts)
        self._plain &= all(map(is_plain, texts))
        self.has_negative = bool(negative)
        self.prompt = encoder.read(read_weights(picture.prompt), "prompt")
        self.negative: Reading | None = None
        if recipe.guidance_scale > 1:
            parts = read_weights(negative, "negative_prompt")
            self.negative = encoder.read(parts, "negative_prompt")

    @property
    def length(self) -> Length:
        read = [self.prompt] if self.negative is None else [self.prompt, self.negative]
        return longest([reading.length for reading in read])

    @property
    def is_short_and_plain(self) -> bool:
        return self._plain and self.length == SHORT


def _encoded(
    encoder: Encoder, pairs: Sequence[_Pair], skip: int | None, takes: Mapping[str, Any]
) -> dict[str, Any]:
    length = longest([pair.length for pair in pairs])
    arguments = encoder.encode([pair.prompt for pair in pairs], length, skip)
    unwanted = [pair.negative for pair in pairs if pair.negative is not None]
    if not unwanted or "negative_prompt_embeds" not in takes:
        return arguments
    negative = encoder.encode(unwanted, length, skip)
    for number, pair in enumerate(pairs):
        if encoder.empty_is_zero and not pair.has_negative:
            for tensor in negative.values():
                tensor[number] = 0
    return arguments | {f"negative_{name}": tensor for name, tensor in negative.items()}


def _prompts(pictures: Sequence[Picture]) -> dict[str, Any]:
    negative = [picture.negative_prompt or "" for picture in pictures]
    arguments: dict[str, Any] = {"prompt": [picture.prompt for picture in pictures]}
    return arguments | ({"negative_prompt": negative} if any(negative) else {})


def _some_have_none(pictures: Sequence[Picture]) -> bool:
    return len({bool(picture.negative_prompt) for picture in pictures}) == 2


def _sentences(
    view: Any, pictures: Sequence[Picture], recipe: Recipe, takes: Mapping[str, Any]
) -> dict[str, Any]:
    """The texts as they are, for a model that reads sentences."""
    model = type(view).__name__
    if recipe.clip_skip is not None:
        raise InvalidInput(
            f"{model} is not guided by CLIP's layers: leave clip_skip out", param="clip_skip"
        )
    arguments = _prompts(pictures)
    limit = _limit(view, takes)
    for name, texts in arguments.items():
        arguments[name] = [plain_sentence(text, model, name) for text in texts]
        for text in arguments[name]:
            _check_length(view, text, limit, name)
    scale = takes.get("true_cfg_scale")
    if scale is not None and scale.default > 1:
        # These are guided only away from something; nothing, where the request names nothing.
        arguments.setdefault("negative_prompt", [" "] * len(pictures))
    return arguments


def _of_one_filling(
    pipeline: Any, pictures: Sequence[Picture], recipe: Recipe
) -> list[list[Picture]]:
    model = type(pipeline).__name__
    if model not in FILLING:
        return [list(pictures)]
    tokenizer = pipeline.tokenizer
    # What is filled up at the left, as the rest is, is the same for all of one length after it.
    unit = FILLING[model] if tokenizer.padding_side == "left" else 1

    def filled(picture: Picture) -> tuple[int, ...]:
        texts = [(picture.prompt, "prompt")]
        if recipe.guidance_scale > 1:
            texts.append((picture.negative_prompt or "", "negative_prompt"))
        sentences = [plain_sentence(text, model, param) for text, param in texts]
        return tuple(-(-len(tokenizer(text).input_ids) // unit) for text in sentences)

    return [list(group) for _, group in groupby(pictures, key=filled)]


def _heeds_negative(recipe: Recipe, takes: Mapping[str, Any]) -> bool:
    """Some take a negative prompt, but heed it only when they are told to work twice."""
    if "negative_prompt" not in takes:
        return False
    scale = takes.get("true_cfg_scale")
    told = dict(recipe.extra).get("true_cfg_scale", scale.default if scale else None)
    return told is None or told > 1


def _limit(view: Any, takes: Mapping[str, Any]) -> int | None:
    """Tokens that the encoder reads; None where the pipeline does not tell."""
    if type(view).__name__ in SENTENCES:
        return SENTENCES[type(view).__name__]
    if "max_sequence_length" in takes:
        return int(takes["max_sequence_length"].default)
    return None if "text_encoder_2" in view.components else int(view.tokenizer.model_max_length)


def _check_length(view: Any, text: str, limit: int | None, name: str) -> None:
    # No tokenizer makes more tokens of a text than it has bytes, and two ends.
    if limit is None:
        return
    whole = _in_its_frame(view, text, name)
    if len(whole.encode()) + 2 <= limit:
        return
    tokenizer = _tokenizer(view)
    tokens = len(tokenizer(whole).input_ids)
    if tokens > limit:
        frame = tokens - len(tokenizer(text).input_ids)
        raise too_long(tokens - frame, limit - frame, name)


def _in_its_frame(view: Any, text: str, name: str) -> str:
    """The text with what the pipeline says around it, which takes of the encoder's tokens too."""
    if hasattr(view, "system_prompt"):
        return f"{view.system_prompt} <Prompt Start> {text}" if name == "prompt" else text
    for start, thinks in IN_TURNS.items():
        if type(view).__name__.startswith(start):
            turn: str = view.tokenizer.apply_chat_template(
                [{"role": "user", "content": text}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=thinks,
            )
            return turn
    return text


def _tokenizer(view: Any) -> Any:
    """Of the encoder that reads sentences: the second one where one of fewer tokens is first."""
    is_short = type(view.text_encoder).__name__.startswith(SHORT_READERS)
    return view.tokenizer_2 if is_short and "tokenizer_2" in view.components else view.tokenizer
