"""What a Whisper's token ids mean: its languages, tasks and times, and what it must not write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onebox.audio.transcription.contracts import Listen
from onebox.core.errors import ModelBroken

SECONDS_PER_TIME = 0.02
DEFAULT_MAX_INITIAL_TIME = 50


class WhisperTokens:
    """
    Attributes:
        end: of a text; all text tokens are below it.
        zero: the time 0.00; all others follow.
        times: how many there are.
        no_speech: its probability after `start` tells whether nobody speaks.
        languages: code → token id; empty for models of one language.
        suppressed, suppressed_first: ids that never come, and that do not come first.
        max_first_time: the largest time that the first segment may begin at, counted from `zero`.
        context: the most tokens that fit.
    """

    def __init__(self, config: Any, generation: Any, tokenizer: Any) -> None:
        self._tokenizer = tokenizer.backend_tokenizer
        told = generation.to_dict()
        self.end: int = self._id("<|endoftext|>")
        self.start: int = self._id("<|startoftranscript|>")
        self.no_timestamps: int = told.get("no_timestamps_token_id") or self._id("<|notimestamps|>")
        self.zero = self.no_timestamps + 1
        self.times: int = config.vocab_size - self.zero
        # Its name differs between checkpoints, its place does not.
        self.no_speech = self.no_timestamps - 1
        self.previous: int = told.get("prev_sot_token_id") or self._id("<|startofprev|>")
        self.languages = self._languages(told)
        tasks = ("transcribe", "translate") if self.languages else ()
        self._tasks = {task: self._id(f"<|{task}|>") for task in tasks}
        self.context: int = config.max_target_positions
        own = {self.start, self.previous, self.no_speech, self.no_timestamps}
        own |= {*self.languages.values(), *self._tasks.values()}
        never = {*(told.get("suppress_tokens") or ()), *own} - {self.end}
        self.suppressed = sorted(token for token in never if 0 <= token < config.vocab_size)
        self._vocabulary: int = config.vocab_size
        self._suppression: Any = None
        self.suppressed_first: list[int] = list(told.get("begin_suppress_tokens") or ())
        first = told.get("max_initial_timestamp_index")
        self.max_first_time: int = DEFAULT_MAX_INITIAL_TIME if first is None else first

    @property
    def most_prompt(self) -> int:
        """How many tokens of a prompt are used: its last ones."""
        return self.context // 2 - 1

    def suppression(self, device: Any) -> Any:
        """float32 [vocabulary], to be added to scores: minus infinity for what never comes."""
        import torch

        if self._suppression is None:
            never = torch.zeros(self._vocabulary, device=device)
            never[self.suppressed] = -torch.inf
            self._suppression = never
        return self._suppression

    def opening(self, listen: Listen, language: str) -> tuple[list[int], int]:
        """What a window's tokens begin with, and the place of `start` in it."""
        opening = self._prompt(listen.prompt)
        place = len(opening)
        opening.append(self.start)
        if self.languages:
            opening += [self.languages[language], self._tasks[listen.task]]
        if not listen.timestamps:
            opening.append(self.no_timestamps)
        return opening, place

    def aligned_opening(self, listen: Listen, language: str) -> list[int]:
        """What comes before the text when its tokens are laid over the sound."""
        opening = [self.start]
        if self.languages:
            opening += [self.languages[language], self._tasks[listen.task]]
        return [*opening, self.no_timestamps]

    def text(self, tokens: Sequence[int]) -> str:
        """Of text tokens; bytes that are no whole letter become U+FFFD."""
        written: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return written

    def _prompt(self, prompt: str) -> list[int]:
        if not prompt.strip():
            return []
        ids = self._tokenizer.encode(f" {prompt.strip()}", add_special_tokens=False).ids
        # Names of special tokens in it mean nothing.
        plain = [token for token in ids if token < self.end]
        return [self.previous, *plain[-self.most_prompt :]]

    def _languages(self, told: Mapping[str, Any]) -> dict[str, int]:
        if told.get("is_multilingual") is False:
            return {}
        known = told.get("lang_to_id")
        if known:
            return {token.strip("<|>"): number for token, number in known.items()}
        from transformers.models.whisper.tokenization_whisper import LANGUAGES

        found = {code: self._tokenizer.token_to_id(f"<|{code}|>") for code in LANGUAGES}
        return {code: number for code, number in found.items() if number is not None}

    def _id(self, token: str) -> int:
        found: int | None = self._tokenizer.token_to_id(token)
        if found is None:
            raise ModelBroken(f"its tokenizer has no {token}; copy the whole checkpoint")
        return found
