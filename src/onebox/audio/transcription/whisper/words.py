"""When each word was said: the decoder's attention to the frames, and the best way through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onebox.audio.transcription.contracts import HeardWord
from onebox.audio.transcription.whisper.decoding import Row
from onebox.audio.transcription.whisper.memory import WhisperMemory
from onebox.audio.transcription.whisper.net import WhisperNet
from onebox.audio.transcription.whisper.tokens import SECONDS_PER_TIME, WhisperTokens

# Languages that put no spaces between words: each letter or group of them counts as one.
UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "km", "bo", "yue"})
OPENING_MARKS = "\"'\u201c\u00bf([{-"
CLOSING_MARKS = "\"'.\u3002,\uff0c!\uff01?\uff1f:\uff1a\u201d)]}\u3001"
SMOOTHED_FRAMES = 7
# A word beside a pause is heard through all of it; none is that long.
MAX_WORD_S = 1.4
BROKEN = "\ufffd"


class WordTimes:
    """
    Args:
        heads: pairs (layer, head) of the decoder whose attention follows the speech.
    """

    def __init__(
        self, net: WhisperNet, tokens: WhisperTokens, heads: Sequence[Sequence[int]]
    ) -> None:
        self._net = net
        self._tokens = tokens
        self._heads = [(int(layer), int(head)) for layer, head in heads]

    def fill(self, row: Row, slot: int, memory: WhisperMemory) -> None:
        """Set the row's words, in the order of its text."""
        text = [token for token in row.tokens if token < self._tokens.end]
        frames = min(self._net.frames, round(row.length_s / SECONDS_PER_TIME))
        if not text or frames < 1:
            return
        opening = self._tokens.aligned_opening(row.listen, row.language)
        text = text[: self._tokens.context - len(opening)]
        attention = self._attention([*opening, *text], slot, memory)
        begins = path_begins(-salience(attention[:, len(opening) - 1 :, :frames]))
        times = [min(frame * SECONDS_PER_TIME, row.length_s) for frame in begins]
        # Where the last token ends.
        times.append(row.length_s)
        row.words = timed_words(words_of(text, self._tokens, row.language), times)

    def _attention(self, ids: list[int], slot: int, memory: WhisperMemory) -> Any:
        """[heads, tokens, frames]."""
        import torch

        found: dict[tuple[int, int], Any] = {}

        def watch(layer: int, shares: Any) -> None:
            found.update({at: shares[0, at[1]] for at in self._heads if at[0] == layer})

        known = torch.tensor([ids], device=self._net.device)
        self._net.write(memory.of_slot(slot, len(ids)), known, [0], watch)
        return torch.stack([found[at] for at in self._heads]).cpu()


def salience(attention: Any) -> Any:
    """[heads, tokens, frames] → float64 array [tokens, frames]: how far a frame stands out for a
    token, smoothed over frames, in the mean of the heads.
    """
    import torch.nn.functional as functional

    deviation = attention.std(1, keepdim=True, unbiased=False).clamp_(min=1e-10)
    attention = (attention - attention.mean(1, keepdim=True)) / deviation
    side = SMOOTHED_FRAMES // 2
    if attention.shape[2] > side:
        padded = functional.pad(attention, (side, side), mode="reflect")
        attention = padded.unfold(-1, SMOOTHED_FRAMES, 1).median(-1).values
    return attention.mean(0).double().numpy()


def path_begins(costs: Any) -> list[int]:
    """The frame at which each token begins on the cheapest way from the first token at the first
    frame to the last at the last, that never goes back (dynamic time warping).

    `costs`: float64 array [tokens, frames].
    """
    import numpy as np

    tokens, frames = costs.shape
    sums = np.full((tokens + 1, frames + 1), np.inf)
    sums[0, 0] = 0.0
    for token in range(tokens):
        # Entered from the token before, and then any number of frames further.
        entered = np.minimum(sums[token, :-1], sums[token, 1:])
        along = costs[token].cumsum()
        before = along - costs[token]
        sums[token + 1, 1:] = along + np.minimum.accumulate(entered - before)
    begins, token, frame = [0] * tokens, tokens, frames
    while token > 0:
        begins[token - 1] = frame - 1
        ways = (sums[token - 1, frame - 1], sums[token - 1, frame], sums[token, frame - 1])
        best = int(np.argmin(ways))
        token -= best != 2
        frame -= best != 1
    return begins


def words_of(text: Sequence[int], tokens: WhisperTokens, language: str) -> list[tuple[str, int]]:
    """Words with the number of their tokens; marks stand with the word they belong to."""
    pieces = _pieces(text, tokens)
    words: list[tuple[str, int]] = []
    for piece, count in pieces:
        begins = language in UNSPACED_LANGUAGES or piece.startswith(" ") or not words
        mark = piece.strip()
        is_closing = bool(mark) and all(letter in CLOSING_MARKS for letter in mark)
        opens = words and words[-1][0].strip() and words[-1][0].strip() in OPENING_MARKS
        if words and (not begins or opens or (is_closing and not piece.startswith(" "))):
            before, number = words.pop()
            words.append((before + piece, number + count))
        else:
            words.append((piece, count))
    return words


def _pieces(text: Sequence[int], tokens: WhisperTokens) -> list[tuple[str, int]]:
    """As few tokens at a time as make whole letters."""
    found, pending = [], []
    for token in text:
        pending.append(token)
        piece = tokens.text(pending)
        if not piece.endswith(BROKEN):
            found.append((piece, len(pending)))
            pending = []
    if pending:
        found.append((tokens.text(pending), len(pending)))
    return found


def timed_words(words: Sequence[tuple[str, int]], times: Sequence[float]) -> list[HeardWord]:
    """
    Args:
        times: where each token begins, and where the last one ends; never falling.
    """
    found, place = [], 0
    for text, count in words:
        start, end = times[place], times[place + count]
        place += count
        # Before a pause it is the end that is late; after one, the end of the word is right.
        if end - start > MAX_WORD_S:
            is_last = place == len(times) - 1 or text.rstrip()[-1:] in CLOSING_MARKS
            start, end = (start, start + MAX_WORD_S) if is_last else (end - MAX_WORD_S, end)
        if text.strip():
            found.append(HeardWord(text, start, end))
    return found
