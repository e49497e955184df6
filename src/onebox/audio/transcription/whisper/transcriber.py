"""`WhisperTranscriber`: what a loaded Whisper writes down of windows of speech."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from onebox.audio.transcription.contracts import Heard, HeardSegment, HeardToken, HeardWord, Listen
from onebox.audio.transcription.whisper.decoding import Row, WhisperDecoding
from onebox.audio.transcription.whisper.features import LogMel
from onebox.audio.transcription.whisper.memory import WhisperMemory
from onebox.audio.transcription.whisper.net import WhisperNet
from onebox.audio.transcription.whisper.tokens import SECONDS_PER_TIME, WhisperTokens
from onebox.audio.transcription.whisper.words import WordTimes
from onebox.audio.windows import SAMPLING_RATE
from onebox.core.contracts import RunContext
from onebox.core.errors import AppError, ModelBroken


class WhisperTranscriber:
    """Used on its engine's thread alone.

    Args:
        model: a library model, whose weights are taken out of it.
        tokenizer, extractor: of its checkpoint.
    """

    def __init__(self, model: Any, tokenizer: Any, extractor: Any) -> None:
        self._tokens = WhisperTokens(model.config, model.generation_config, tokenizer)
        heads = getattr(model.generation_config, "alignment_heads", None) or ()
        self._net = WhisperNet(model)
        self._mel = LogMel(extractor, self._net.device)
        self._words = WordTimes(self._net, self._tokens, heads)
        self.size_bytes: int = self._net.size_bytes

    def transcribe(self, windows: Sequence[Listen], context: RunContext) -> list[Heard | AppError]:
        import torch

        rows = [Row(each, len(each.samples) / SAMPLING_RATE) for each in windows]
        decoding = WhisperDecoding(self._net, self._tokens, self._finish, context.hand_over)
        with torch.inference_mode():
            features = self._mel([row.listen.samples for row in rows])
            context.hand_over()
            decoding.run(rows, features)
        return [self._heard(row) for row in rows]

    def close(self) -> None:
        del self._net, self._mel, self._words

    def _finish(self, row: Row, slot: int, memory: WhisperMemory) -> None:
        if row.listen.words and row.is_sound:
            self._words.fill(row, slot, memory)

    def _heard(self, row: Row) -> Heard | AppError:
        if not row.is_sound:
            return ModelBroken("the model gave no numbers for this sound; its weights are damaged")
        return Heard(
            segments=tuple(self._segments(row)),
            language=row.language,
            avg_logprob=row.avg_logprob,
            no_speech_prob=row.no_speech,
            logprobs=tuple(self._logprobs(row)) if row.listen.logprobs else (),
        )

    def _segments(self, row: Row) -> Iterator[HeardSegment]:
        words = list(row.words)
        for start, end, tokens in segment_spans(row.tokens, self._tokens, row.length_s):
            text = self._tokens.text(tokens)
            own = _take_words(words, text)
            if text.strip():
                yield HeardSegment(start, end, text, tuple(tokens), tuple(own))

    def _logprobs(self, row: Row) -> Iterator[HeardToken]:
        for token, logprob in zip(row.tokens, row.logprobs, strict=False):
            if token < self._tokens.end:
                yield HeardToken(self._tokens.text([token]), token, logprob)


def segment_spans(
    written: Sequence[int], tokens: WhisperTokens, length_s: float
) -> Iterator[tuple[float, float, list[int]]]:
    """Start and end in seconds and the text tokens of each phrase; a window without times is one.

    What has no time of its own ends with the window.
    """
    start = at = 0.0
    text: list[int] = []
    for token in written:
        if token < tokens.zero:
            text.append(token)
            continue
        at = min(max(at, (token - tokens.zero) * SECONDS_PER_TIME), length_s)
        if text:
            yield start, at, text
            text = []
        start = at
    if text:
        yield start, length_s, text


def _take_words(words: list[HeardWord], text: str) -> list[HeardWord]:
    """The first of the words, as many as make up the text; they are removed."""
    own, length = [], 0
    while words and length < len(text.strip()):
        own.append(words.pop(0))
        length += len(own[-1].text)
    return own
