"""`Reasoning`: parts what a model thinks aloud, `<think>…</think>`, from its answer."""

from __future__ import annotations

from collections.abc import Sequence

from onebox.language.answers.stop_strings import StopStrings
from onebox.language.prompts.text_tokenizer import TextTokenizer

BEGIN = "<think>"
END = "</think>"
MARKS = (BEGIN, END)
# Tokens at the end of a prompt in which the mark is looked for.
TAIL_TOKENS = 16


class Reasoning:
    """Takes the text of one answer in pieces. Only thoughts at its very beginning are parted.

    The white space before and after them is left out.

    Attributes:
        is_over: the thoughts have ended, or there are none.
        skipped: how many characters of the text come before the answer proper; None until it has
            begun.

    Args:
        opened: the prompt ends with the mark that thoughts begin with.
    """

    def __init__(self, *, opened: bool) -> None:
        self.is_over = False
        self.skipped: int | None = None
        self._taken = 0
        self._held = ""
        self._said = False
        self._end = StopStrings([END]) if opened else None

    def feed(self, text: str) -> tuple[str, str]:
        """More of the thoughts, and more of the answer."""
        if self.skipped is not None:
            return "", text
        self._taken += len(text)
        if self._end is None and not self.is_over:
            text = self._begin(text)
        thought = ""
        if self._end is not None and not self.is_over:
            thought, rest = self._end.feed(text)
            self.is_over = rest is not None
            text = rest or ""
        return self._spoken(thought), self._answer(text)

    def finish(self) -> tuple[str, str]:
        """The same of what was held back: the text ends here."""
        if self._end is not None:
            return self._spoken("" if self.is_over else self._end.finish()), ""
        self.is_over = True
        held, self._held = self._held, ""
        return "", self._answer(held)

    def _begin(self, text: str) -> str:
        """What is to be looked at, once it is known whether there are thoughts."""
        text = self._held + text
        begun = text.lstrip()
        if begun.startswith(BEGIN):
            self._held = ""
            self._end = StopStrings([END])
            return begun[len(BEGIN) :]
        self.is_over = not BEGIN.startswith(begun)
        self._held = "" if self.is_over else text
        return text

    def _spoken(self, thought: str) -> str:
        if not self._said:
            thought = thought.lstrip()
            self._said = bool(thought)
        return thought

    def _answer(self, text: str) -> str:
        if not self.is_over:
            return ""
        text = text.lstrip() if self._end is not None else text
        if text:
            self.skipped = self._taken - len(text)
        return text


def reasoning_of(tokenizer: TextTokenizer, prompt: Sequence[int]) -> Reasoning | None:
    """For the answer to a prompt; None for a model whose chat template knows of no thoughts."""
    if END not in (tokenizer.chat_template or ""):
        return None
    tail = tokenizer.decode(prompt[-TAIL_TOKENS:], skip_special=False)
    return Reasoning(opened=tail.rstrip().endswith(BEGIN))
