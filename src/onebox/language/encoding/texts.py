"""Texts become tokens: marks around them, prompts before them, and never more than fit."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from onebox.core.contracts import Entry
from onebox.core.errors import ContextOverflow, ModelBroken
from onebox.language.prompts.tokenizer import TextTokenizer, tokenizer_of

# Of a text that may be far too long, so many characters are turned into tokens at a time.
PIECE_CHARS = 65_536
IDS = "i"
SIGMAS = ("\N{GREEK CAPITAL LETTER SIGMA}", "\N{GREEK SMALL LETTER SIGMA}")


@dataclass(frozen=True, slots=True)
class EncodedText:
    """The tokens of a text or of two, as a model takes them. Equal ones get equal vectors.

    Attributes:
        ids: int32 values.
        segments: one byte a token, 1 for those of the second text; empty where all are 0.
        prompt_tokens: so many at the beginning do not count in the text's vector.
    """

    ids: bytes
    segments: bytes = b""
    prompt_tokens: int = 0

    def __len__(self) -> int:
        return len(self.ids) // array(IDS).itemsize


class TextEncoding:
    """Makes the tokens of the texts of one checkpoint. For any thread.

    Args:
        tokenizer: of the checkpoint.
        limit: the most tokens of a text, or of two.
        lower: put texts in lower case first.
    """

    def __init__(self, tokenizer: TextTokenizer, limit: int, *, lower: bool) -> None:
        if tokenizer.backend is None:
            raise ModelBroken("its tokenizer is written in Python; a tokenizer.json is needed")
        self._backend: Any = tokenizer.backend
        self._has_segments = tokenizer.has_segments
        self._limit = limit
        self._lower = lower

    def texts(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        truncate: bool,
        skip_prompt: bool = False,
        param: str = "input",
        places: Sequence[int | None] | None = None,
    ) -> list[EncodedText]:
        """
        Args:
            prompt: put before each text.
            truncate: cut what is too long; else it raises ContextOverflow with the text's index.
            skip_prompt: the prompt's tokens do not count in the vectors.
            param: the request's field that they are from.
            places: their indices in it, where it has others too; None if it is no list.
        """
        ready = [self._as_read(prompt + text) for text in texts]
        skipped = self._prompt_tokens(prompt) if skip_prompt and prompt else 0
        found = self._all(ready, truncate, param, places or range(len(texts)), self._cut_text)
        return [self._encoded(encoding, skipped) for encoding in found]

    def pairs(
        self, first: str, others: Sequence[str], *, most: int | None = None, truncate: bool
    ) -> list[EncodedText]:
        """The first text with each of the others, which are cut to `most` tokens."""
        second = [self._as_read(other) for other in others]
        if most is not None:
            second = [self._beginning(other, most) for other in second]
        ready = [(self._as_read(first), other) for other in second]
        found = self._all(ready, truncate, "documents", range(len(others)), self._cut_pair)
        return [self._encoded(encoding, 0) for encoding in found]

    def ids(self, given: Sequence[int], index: int, *, truncate: bool) -> EncodedText:
        """Tokens as the client made them: nothing is put around them."""
        if len(given) > self._limit and not truncate:
            raise self._overflow("input", index, len(given))
        return EncodedText(array(IDS, given[: self._limit]).tobytes())

    def _all(
        self,
        inputs: Sequence[Any],
        truncate: bool,
        param: str,
        places: Sequence[int | None],
        cut: Callable[[Any], Any],
    ) -> list[Any]:
        """One Encoding for each text or pair."""
        if not truncate:
            for place, given in zip(places, inputs, strict=True):
                tokens = self._far_too_many(given)
                if tokens is not None:
                    raise self._overflow(param, place, tokens)
        found = list(self._backend.encode_batch_fast(inputs, add_special_tokens=True))
        for index, encoding in enumerate(found):
            if len(encoding) <= self._limit:
                continue
            if not truncate:
                raise self._overflow(param, places[index], len(encoding))
            found[index] = cut(inputs[index])
        return found

    def _far_too_many(self, given: str | tuple[str, str]) -> int | None:
        """About how many tokens a text has that is more than twice too long.

        Tokens of megabytes take seconds, so they are not counted to the end.
        """
        text = given if isinstance(given, str) else max(given, key=len)
        count = 0
        for start in range(0, len(text) - PIECE_CHARS, PIECE_CHARS):
            piece = text[start : start + PIECE_CHARS]
            count += len(self._backend.encode(piece, add_special_tokens=False))
            if count > 2 * self._limit:
                return count * len(text) // (start + PIECE_CHARS)
        return None

    def _overflow(self, param: str, index: int | None, tokens: int) -> ContextOverflow:
        with_query = ", with the query," if param == "documents" else ""
        which = param if index is None else f"{param}[{index}]"
        where = {} if index is None else {"index": index}
        return ContextOverflow(
            f"{which} has{with_query} {tokens} tokens and this model takes "
            f"{self._limit}; shorten it or set truncate",
            param=param,
            details={**where, "tokens": tokens, "max_tokens": self._limit},
        )

    def _cut_text(self, text: str) -> Any:
        encoding = self._backend.encode(text, add_special_tokens=False)
        room = self._limit - self._backend.num_special_tokens_to_add(False)
        encoding.truncate(max(0, room))
        return self._backend.post_process(encoding, None, True)

    def _cut_pair(self, pair: tuple[str, str]) -> Any:
        """The longer one loses first."""
        encodings = [self._backend.encode(text, add_special_tokens=False) for text in pair]
        room = max(0, self._limit - self._backend.num_special_tokens_to_add(True))
        lengths = _shares(len(encodings[0]), len(encodings[1]), room)
        for encoding, length in zip(encodings, lengths, strict=True):
            encoding.truncate(length)
        return self._backend.post_process(*encodings, True)

    def _beginning(self, text: str, tokens: int) -> str:
        encoding = self._backend.encode(text, add_special_tokens=False)
        return text if len(encoding) <= tokens else text[: encoding.offsets[tokens - 1][1]]

    def _encoded(self, encoding: Any, prompt_tokens: int) -> EncodedText:
        types = encoding.type_ids if self._has_segments else ()
        segments = bytes(types) if any(types) else b""
        return EncodedText(array(IDS, encoding.ids).tobytes(), segments, prompt_tokens)

    def _prompt_tokens(self, prompt: str) -> int:
        """Those at the beginning of a text with it, without the marks after a text."""
        encoding: Any = self._backend.encode(self._as_read(prompt), add_special_tokens=True)
        return len(encoding.ids) - int(encoding.special_tokens_mask[-1])

    def _as_read(self, text: str) -> str:
        # Letter by letter, as a tokenizer does it: only a whole word's lower case knows the other
        # sigma.
        return text.replace(*SIGMAS).lower() if self._lower else text


def encoding_of(
    entry: Entry, tokenizers: Callable[[Entry], TextTokenizer] = tokenizer_of
) -> TextEncoding:
    """Of a checkpoint of the families text_encoder and cross_encoder."""
    facts = entry.facts
    return TextEncoding(tokenizers(entry), facts["max_tokens"], lower=facts["lower"])


def _shares(first: int, second: int, room: int) -> tuple[int, int]:
    """How much of two texts stays: the shorter one whole if it takes at most half of the room."""
    if first + second <= room:
        return first, second
    half = room // 2
    if min(first, second) <= half:
        short = min(first, second)
        return (short, room - short) if first <= second else (room - short, short)
    return (half, room - half) if first <= second else (room - half, half)
