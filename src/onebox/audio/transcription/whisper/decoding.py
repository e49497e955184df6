"""Windows written down side by side, a token of each at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from onebox.audio.transcription.contracts import HeardWord, Listen
from onebox.audio.transcription.whisper.memory import WhisperMemory
from onebox.audio.transcription.whisper.net import WhisperNet
from onebox.audio.transcription.whisper.rules import Heat, allowed, choose
from onebox.audio.transcription.whisper.tokens import WhisperTokens

# A window's text is at most so many tokens: nobody speaks faster, and what loops must end.
TOKENS_PER_S = 16
TOKENS_BESIDE = 32


@dataclass(slots=True, eq=False)
class Row:
    """One window on its way.

    Attributes:
        opening: the tokens before its text; `place` is that of `start` among them.
        most: how many tokens may be written.
        logprobs: of the tokens, and of the end if it came.
        no_speech: the probability that there is no speech.
        is_sound: false where the model gave no numbers.
    """

    listen: Listen
    length_s: float
    language: str = ""
    opening: list[int] = field(default_factory=list)
    place: int = 0
    most: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    no_speech: float = 0.0
    is_sound: bool = True
    words: list[HeardWord] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.opening) + len(self.tokens)

    @property
    def avg_logprob(self) -> float:
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else 0.0


class WhisperDecoding:
    """One round of windows.

    Args:
        finished: called with each row that is at its end and its slot, whose memory is still there.
        pause: called between steps.
    """

    def __init__(
        self,
        net: WhisperNet,
        tokens: WhisperTokens,
        finished: Callable[[Row, int, WhisperMemory], None],
        pause: Callable[[], None],
    ) -> None:
        self._net = net
        self._tokens = tokens
        self._finished = finished
        self._pause = pause

    def run(self, rows: Sequence[Row], features: Any) -> None:
        """Fill in the rows of some windows, given their log-mel spectra."""
        memory = self._net.memory(len(rows), self._tokens.context)
        self._net.hear(features, memory, self._pause)
        self._find_languages(rows, memory)
        for row in rows:
            self._open(row)
        active = list(rows)
        hidden = self._write_openings(active, memory)
        while True:
            self._choose(active, hidden)
            active = self._sort_out(active, memory)
            if not active:
                return
            self._pause()
            hidden = self._write_last(active, memory)

    def _find_languages(self, rows: Sequence[Row], memory: WhisperMemory) -> None:
        """Of those whose language nobody told, all others being asked in vain."""
        import torch

        known = self._tokens.languages
        for row in rows:
            row.language = row.listen.language or ""
            if not known:
                row.language = "en"
        if all(row.language in known or not known for row in rows):
            return
        self._pause()
        start = torch.full((len(rows), 1), self._tokens.start, device=self._net.device)
        scores = self._net.scores(self._net.write(memory, start, [0] * len(rows))[:, 0])
        codes = list(known)
        ids = torch.tensor([known[code] for code in codes], device=self._net.device)
        best = scores[:, ids].argmax(-1).tolist()
        for row, place in zip(rows, best, strict=True):
            if row.language not in known:
                row.language = codes[place]

    def _open(self, row: Row) -> None:
        row.opening, row.place = self._tokens.opening(row.listen, row.language)
        room = self._tokens.context - len(row.opening)
        by_length = TOKENS_BESIDE + math.ceil(TOKENS_PER_S * row.length_s)
        row.most = max(1, min(room, self._tokens.context // 2, by_length))

    def _write_openings(self, rows: Sequence[Row], memory: WhisperMemory) -> Any:
        """The hidden states [rows, width] of their last tokens; no_speech on the way."""
        import torch

        longest = max(len(row.opening) for row in rows)
        # What stands after a shorter one is overwritten by its text.
        ids = [row.opening + [self._tokens.end] * (longest - len(row.opening)) for row in rows]
        known = torch.tensor(ids, device=self._net.device)
        hidden = self._net.write(memory, known, [0] * len(rows))
        every = torch.arange(len(rows), device=self._net.device)
        starts = torch.tensor([row.place for row in rows], device=self._net.device)
        shares = self._net.scores(hidden[every, starts]).softmax(-1)
        for row, share in zip(rows, shares[:, self._tokens.no_speech].tolist(), strict=True):
            row.no_speech = share
        last = torch.tensor([len(row.opening) - 1 for row in rows], device=self._net.device)
        return hidden[every, last]

    def _write_last(self, rows: Sequence[Row], memory: WhisperMemory) -> Any:
        import torch

        ids = torch.tensor([[row.tokens[-1]] for row in rows], device=self._net.device)
        return self._net.write(memory, ids, [row.length - 1 for row in rows])[:, 0]

    def _choose(self, rows: Sequence[Row], hidden: Any) -> None:
        ids, logprobs = choose(
            self._net.scores(hidden),
            [allowed(row.tokens, self._tokens, timestamps=row.listen.timestamps) for row in rows],
            [Heat(row.listen.temperature, row.listen.seed) for row in rows],
            [len(row.tokens) for row in rows],
            self._tokens,
        )
        for row, token, logprob in zip(rows, ids, logprobs, strict=True):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            row.is_sound = math.isfinite(logprob)

    def _sort_out(self, active: list[Row], memory: WhisperMemory) -> list[Row]:
        """Those that go on. Slots of finished ones are taken by the last of them."""
        slot = 0
        while slot < len(active):
            row = active[slot]
            ended = row.tokens[-1] == self._tokens.end
            if not ended and len(row.tokens) < row.most and row.is_sound:
                slot += 1
                continue
            if ended:
                row.tokens.pop()
            self._finished(row, slot, memory)
            memory.move(len(active) - 1, slot)
            active[slot] = active[-1]
            active.pop()
        return active
