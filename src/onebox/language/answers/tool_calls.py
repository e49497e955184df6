"""Tool calls in what a model writes: found as the text comes in, in the form its template taught.

Three forms: Hermes and Qwen, `<tool_call>{"name": …, "arguments": {…}}</tool_call>`; Llama 3,
`{"name": …, "parameters": {…}}` as the whole answer, or after `<|python_tag|>`; and Mistral,
`[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`. Calls are read as JSON and never evaluated.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from onebox.language.answers.json_scanner import ObjectScanner

ToolFormat = Literal["hermes", "llama", "mistral"]

# What opens a call. Some tokenizers have these as special tokens, whose text must then be kept.
OPENERS: Mapping[ToolFormat, str] = {
    "hermes": "<tool_call>",
    "llama": "<|python_tag|>",
    "mistral": "[TOOL_CALLS]",
}
CLOSERS: Mapping[ToolFormat, str] = {"hermes": "</tool_call>", "llama": "", "mistral": "]"}
MARKERS: Mapping[ToolFormat, tuple[str, ...]] = {
    "hermes": (OPENERS["hermes"], CLOSERS["hermes"]),
    "llama": (OPENERS["llama"],),
    "mistral": (OPENERS["mistral"],),
}
# What may stand between two calls that follow each other, beside blanks.
SEPARATORS: Mapping[ToolFormat, str] = {"hermes": "", "llama": ";,", "mistral": ","}
ARGUMENTS = ("arguments", "parameters")
BLANKS = " \t\r\n"

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_LLAMA = re.compile(r"""["']parameters["']\s*:|<\|python_tag\|>""")


@dataclass(frozen=True, slots=True)
class ContentPiece:
    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """Call number `index` of the answer, from 0 on."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsPiece:
    """The next piece of a call's JSON text."""

    index: int
    text: str


Piece = ContentPiece | CallStart | ArgumentsPiece


def call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


def native_format(template: str | None) -> ToolFormat | None:
    """In which form a chat template shows tools and calls.

    None: it knows none, or shows them in a form that is none of ours.
    """
    if template is None or not re.search(r"\btools\b", template):
        return None
    if OPENERS["mistral"] in template:
        return None if "[ARGS]" in template else "mistral"
    if OPENERS["hermes"] in template:
        return None if "<function=" in template else "hermes"
    return "llama" if _LLAMA.search(template) else None


def format_of(template: str | None) -> ToolFormat:
    """In which form a model of this template is asked to call: Hermes where it knows none."""
    return native_format(template) or "hermes"


State = Literal["text", "before", "call", "after"]


class ToolCallParser:
    """Splits one answer into content and calls.

    A text is a call only when it is whole, correct JSON with the name of a tool and an object of
    arguments; anything else is content, to the letter. Blanks beside calls are dropped. However the
    text is cut into pieces, the joined result is the same.

    Args:
        names: of the tools; a call of another is content. None: any name may be called.
        eager: pass arguments on as they come, for text that a grammar keeps correct. Where it is
            not, what was passed on stays a call, and what follows the error is content.

    Attributes:
        calls: how many have begun.
        is_cut: after `finish`: the text ended inside a call.
    """

    def __init__(
        self,
        tool_format: ToolFormat,
        *,
        names: Collection[str] | None = None,
        eager: bool = False,
        new_id: Callable[[], str] = call_id,
    ) -> None:
        self.calls = 0
        self.is_cut = False
        self._format: ToolFormat = tool_format
        self._opener = OPENERS[tool_format]
        self._names = names
        self._eager = eager
        self._new_id = new_id
        # A Llama needs no mark where the call is the whole answer.
        self._state: State = "before" if tool_format == "llama" else "text"
        self._text = ""  # Not looked at yet.
        self._held = ""  # Looked at; content if no call comes of it.
        self._blanks: str | None = ""  # Since the beginning or a call; None: content came since.
        self._needs_list = False
        self._scanner = ObjectScanner()
        self._index: int | None = None  # Of the call that was begun, and how much of it is out.
        self._sent = 0
        self._pieces: list[Piece] = []

    def feed(self, text: str) -> list[Piece]:
        """What is certain now."""
        self._text += text
        steps = {
            "text": self._read_text,
            "before": self._read_before,
            "call": self._read_call,
            "after": self._read_after,
        }
        while steps[self._state]():
            pass
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> list[Piece]:
        """The rest, at the end of the text. A call that was cut keeps what there is of it."""
        rest = self._held + self._text
        if self._state == "call":
            rest = self._cut_call()
        elif self._state == "after" and self._format == "hermes":
            rest = ""  # The beginning of the closing mark.
        self._write(rest)
        if self._blanks and not self.calls:
            self._pieces.append(ContentPiece(self._blanks))
        pieces, self._pieces = self._pieces, []
        return pieces

    def _read_text(self) -> bool:
        before, opener, after = self._text.partition(self._opener)
        kept = 0 if opener else _overlap(before, self._opener)
        self._write(before[: len(before) - kept])
        self._text = after if opener else before[len(before) - kept :]
        if opener:
            self._held, self._needs_list = opener, self._format == "mistral"
            self._state = "before"
        return bool(opener)

    def _read_before(self) -> bool:
        """Up to the brace that begins a call."""
        self._hold(BLANKS)
        if not self._text:
            return False
        if self._needs_list and self._text[0] == "[":
            self._held, self._text = self._held + "[", self._text[1:]
            self._needs_list = False
        elif self._text[0] == "{" and not self._needs_list:
            self._scanner, self._index = ObjectScanner(), None
            self._state = "call"
        else:
            self._give_up(self._held)
        return True

    def _read_call(self) -> bool:
        count = self._scanner.feed(self._text)
        self._text = self._text[count:]
        is_over = self._scanner.done or bool(self._text)
        if self._eager or self._scanner.done:
            self._send()
        if is_over and self._scanner.done and self._index is not None:
            self._held, self._state = "", "after"
        elif is_over:
            self._give_up(self._not_sent())
        return is_over

    def _read_after(self) -> bool:
        """Past the mark that closes a call, or on to the next call of a list."""
        self._hold(BLANKS + SEPARATORS[self._format])
        closer = CLOSERS[self._format]
        if not self._text or (closer.startswith(self._text) and self._text != closer):
            return False
        if closer and self._text.startswith(closer):
            self._held, self._text = "", self._text[len(closer) :]
            self._state = "text"
        elif self._text[:1] == "{" and self._format != "hermes":
            self._state = "before"
        else:
            self._held, self._text = "", self._held + self._text
            self._state = "text"
        return True

    def _hold(self, chars: str) -> None:
        rest = self._text.lstrip(chars)
        self._held += self._text[: len(self._text) - len(rest)]
        self._text = rest

    def _write(self, text: str) -> None:
        if self._blanks is not None:
            text = self._blanks + text
            self._blanks = text if not text.strip(BLANKS) else None
        if text and self._blanks is None:
            self._pieces.append(ContentPiece(text))

    def _give_up(self, text: str) -> None:
        self._write(text)
        self._held, self._state = "", "text"

    def _send(self) -> None:
        """What is known of the call: its name first, then its arguments as far as they go."""
        name, span = self._name(), self._arguments()
        if name is None or (span is None and not self._may_lack_arguments()):
            return
        if self._index is None:
            if span is not None and self._scanner.text(span[0], span[0] + 1) != "{":
                return
            self._index, self.calls = self.calls, self.calls + 1
            self._sent = span[0] if span else len(self._scanner)
            self._blanks = ""
            self._pieces.append(CallStart(self._index, self._new_id(), name))
            if span is None:
                self._pieces.append(ArgumentsPiece(self._index, "{}"))
        if span is not None and span[1] > self._sent:
            self._pieces.append(
                ArgumentsPiece(self._index, self._scanner.text(self._sent, span[1]))
            )
            self._sent = span[1]

    def _not_sent(self) -> str:
        """Of a text that turned out to be no call."""
        if self._index is None:
            return self._held + self._scanner.text()
        return self._scanner.text(self._sent)

    def _cut_call(self) -> str:
        """End a call that the end of the text cut. Returns what is content after all."""
        self._send()
        self.is_cut = self._index is not None
        return "" if self.is_cut else self._not_sent()

    def _name(self) -> str | None:
        text = self._scanner.value("name")
        name = json.loads(text) if text is not None and text.startswith('"') else None
        if name is None or not _NAME.fullmatch(name):
            return None
        return name if self._names is None or name in self._names else None

    def _arguments(self) -> tuple[int, int] | None:
        """Where they lie in the object: to its end so far, while they are being written."""
        spans = dict(self._scanner.members)
        if self._scanner.open_member is not None:
            name, start = self._scanner.open_member
            spans[name] = (start, len(self._scanner))
        return next((span for name, span in spans.items() if name in ARGUMENTS), None)

    def _may_lack_arguments(self) -> bool:
        """A Llama has no mark that tells a call from any other object with a name."""
        return self._scanner.done and self._format != "llama"


def _overlap(text: str, marker: str) -> int:
    """How many characters at the end of the text may be the beginning of the marker."""
    longest = min(len(text), len(marker) - 1)
    return next((n for n in range(longest, 0, -1) if marker.startswith(text[-n:])), 0)
