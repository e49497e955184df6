"""`Answer`: the text of one sequence, made of its tokens, and the deltas that tell a client of it.

token → characters (`Detokenizer`) → up to a stop string (`StopStrings`) → what may be sent
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from onebox.core.decoding import FinishReason, Token
from onebox.language.answers.detokenizer import Decoder, Detokenizer
from onebox.language.answers.logprobs import TokenLog
from onebox.language.answers.stop_strings import StopStrings


class Answer:
    """A plain text. Used by the engine thread only.

    Attributes:
        field: what its text is called in deltas and in the value.
        reasoning_tokens: how many tokens the model thought aloud with.

    Args:
        logprobs: tell the log-probability of every token with its text.
        strip, kept: as in Detokenizer.
        echo: text that the answer begins with before there is a token.
    """

    field: ClassVar[str] = "text"
    reasoning_tokens = 0

    def __init__(
        self,
        tokenizer: Decoder,
        *,
        stops: Sequence[str] = (),
        logprobs: bool = False,
        strip: bool = True,
        kept: Mapping[int, bytes] | None = None,
        echo: str = "",
    ) -> None:
        self._detokenizer = Detokenizer(tokenizer, kept, strip=strip)
        self._stops = StopStrings(stops)
        offsets = self.field == Answer.field
        self._log = TokenLog(tokenizer, self._detokenizer, offsets=offsets) if logprobs else None
        self._texts: list[str] = []
        self._entries: list[dict[str, Any]] | None = [] if logprobs else None
        self._deltas: list[dict[str, Any]] = []
        # Characters of the text so far, and how many of them were sent.
        self._length = 0
        self._sent = 0
        if echo:
            self._texts.append(echo)
            self._deltas.append({self.field: echo})

    def add(self, token: Token) -> bool:
        """Whether the text has come to its end with this token."""
        text = self._detokenizer.add(token.id)
        start = self._length
        self._length += len(text)
        if self._log is not None and self._detokenizer.bytes_of(token.id):
            # The token belongs to the character that it begins.
            whole = self._detokenizer.is_between_characters
            self._log.add(token, start, self._length if whole else self._length + 1)
        if not text:
            return False
        free, rest = self._stops.feed(text)
        if free:
            self._take(free)
        return rest is not None

    def finish(self, *, cut: bool) -> None:
        """No further token comes; unless the text was cut, what was held back belongs to it."""
        if cut:
            return
        free, rest = self._stops.feed(self._detokenizer.finish())
        if rest is None:
            free += self._stops.finish()
        if free:
            self._take(free)

    def drain(self) -> list[dict[str, Any]]:
        """The deltas since the last time."""
        deltas, self._deltas = self._deltas, []
        return deltas

    def reason(self, reason: FinishReason) -> FinishReason:
        """Why it ended, in the words of a client."""
        return reason

    def value(self) -> dict[str, Any]:
        """All of it: what the deltas add up to."""
        return {self.field: "".join(self._texts), "logprobs": self._entries}

    def _take(self, text: str) -> None:
        """More of the text, up to the stop string."""
        self._send(text)

    def _send(self, text: str) -> None:
        self._texts.append(text)
        self._sent += len(text)
        delta: dict[str, Any] = {self.field: text}
        if self._log is not None and self._entries is not None:
            released = self._log.release(self._sent)
            if released:
                self._entries += released
                delta["logprobs"] = released
        self._deltas.append(delta)
