"""Transcriber of CTC models: each frame of a window names a token or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from onebox.audio.transcription.contracts import (
    Heard,
    HeardSegment,
    HeardToken,
    HeardWord,
    Listen,
)
from onebox.audio.transcription.layer_watch import between_layers
from onebox.audio.transcription.loading import SpeechModel, as_input, is_padding_harmless
from onebox.audio.windows import SAMPLING_RATE
from onebox.core.contracts import RunContext
from onebox.core.errors import AppError
from onebox.core.weight_sizes import resident_bytes

WORD_START = "▁"
# A pause that ends a segment.
PAUSE_S = 0.6


@dataclass(frozen=True, slots=True)
class Frame:
    """One token of the text and the frames that named it."""

    id: int
    logprob: float
    start: int
    end: int


@dataclass(slots=True)
class Word:
    frames: list[Frame] = field(default_factory=list)
    text: str = ""


class CtcTranscriber:
    def __init__(self, loaded: SpeechModel) -> None:
        self._loaded: SpeechModel | None = loaded
        self.size_bytes = resident_bytes([loaded.model])
        tokenizer, config = loaded.tokenizer, loaded.model.config
        self._pieces: Sequence[str] = tokenizer.convert_ids_to_tokens(range(config.vocab_size))
        self._blank: int = config.pad_token_id
        self._space = getattr(tokenizer, "word_delimiter_token", None)
        self._skipped = frozenset(tokenizer.all_special_ids) | {self._blank}
        self._together = is_padding_harmless(loaded, lambda given: loaded.model(**given).logits)

    def transcribe(self, windows: Sequence[Listen], context: RunContext) -> list[Heard | AppError]:
        groups = [list(windows)] if self._together else [[window] for window in windows]
        return [heard for group in groups for heard in self._hear(group, context)]

    def close(self) -> None:
        self._loaded = None

    def _hear(self, windows: Sequence[Listen], context: RunContext) -> Iterator[Heard]:
        import torch

        loaded = self._loaded
        assert loaded is not None
        context.hand_over()
        given = as_input(loaded, [window.samples for window in windows])
        with torch.inference_mode(), between_layers(loaded.model, context.hand_over):
            logits = loaded.model(**given).logits
        best = logits.float().log_softmax(-1).max(-1)
        longest = max(len(window.samples) for window in windows)
        for window, ids, values in zip(
            windows, best.indices.tolist(), best.values.tolist(), strict=True
        ):
            count = max(1, len(ids) * len(window.samples) // longest)
            frame_s = len(window.samples) / SAMPLING_RATE / count
            yield self._heard(window, ids[:count], values[:count], frame_s)

    def _heard(
        self, window: Listen, ids: Sequence[int], values: Sequence[float], frame_s: float
    ) -> Heard:
        frames = [frame for frame in collapse(ids, values) if frame.id != self._blank]
        words = [self._word(word, frame_s) for word in self._words(frames)]
        segments = tuple(
            HeardSegment(
                group[0][0].start_s,
                group[-1][0].end_s,
                "".join(f" {word.text}" for word, _ in group),
                tuple(frame.id for _, own in group for frame in own),
                tuple(word for word, _ in group),
            )
            for group in by_pauses(words)
        )
        said = [frame for _, own in words for frame in own]
        mean = sum(frame.logprob for frame in said) / len(said) if said else 0.0
        told = [HeardToken(self._text(frame.id), frame.id, frame.logprob) for frame in said]
        logprobs = tuple(told) if window.logprobs else ()
        return Heard(segments, window.language or "", mean, 0.0, logprobs)

    def _words(self, frames: Sequence[Frame]) -> Iterator[Word]:
        """Letters, or pieces that say where a word begins."""
        word = Word()
        for frame in frames:
            piece = self._pieces[frame.id]
            if piece == self._space or piece.startswith(WORD_START):
                if word.text:
                    yield word
                word = Word()
            if piece == self._space or frame.id in self._skipped:
                continue
            word.text += piece.removeprefix(WORD_START)
            word.frames.append(frame)
        if word.text:
            yield word

    def _word(self, word: Word, frame_s: float) -> tuple[HeardWord, list[Frame]]:
        first, last = word.frames[0], word.frames[-1]
        return HeardWord(word.text, first.start * frame_s, last.end * frame_s), word.frames

    def _text(self, token_id: int) -> str:
        return self._pieces[token_id].replace(WORD_START, " ")


def collapse(ids: Sequence[int], logprobs: Sequence[float]) -> Iterator[Frame]:
    """Runs of one token are one, with the highest probability of its frames."""
    start = 0
    for place in range(1, len(ids) + 1):
        if place == len(ids) or ids[place] != ids[start]:
            yield Frame(ids[start], max(logprobs[start:place]), start, place)
            start = place


def by_pauses(
    words: Sequence[tuple[HeardWord, list[Frame]]],
) -> Iterator[list[tuple[HeardWord, list[Frame]]]]:
    """Words with no longer pause between them than PAUSE_S."""
    group: list[tuple[HeardWord, list[Frame]]] = []
    for word in words:
        if group and word[0].start_s - group[-1][0].end_s > PAUSE_S:
            yield group
            group = []
        group.append(word)
    if group:
        yield group
