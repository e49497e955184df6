"""Where a text is cut for speaking: sentence by sentence, so that the first is heard while the
others are still being made.
"""

# ruff: noqa: RUF001 - punctuation of Chinese and Japanese looks like others.

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

MAX_CHARACTERS = 300
# The first one is what a listener waits for.
MAX_FIRST_CHARACTERS = 160
# Shorter sentences sound hurried by themselves, and go with the next one.
SHORT_CHARACTERS = 24
SHORT_FIRST_CHARACTERS = 8
WRAPPED_AT = 50

BULLET = re.compile(r"^(?:[-*+•‣▪◦·][ ]|\(?[0-9]{1,3}[.)][ ]|\(?[a-z]\)[ ])")
MARKER = re.compile(r"^[-*+•‣▪◦·][ ]+")
NUMBER = re.compile(r"^\(?([0-9]{1,3}|[a-z])[.)][ ]+(?=\S)")
STOPS = ".!?…。！？:;"
CLAUSES = re.compile(r"[,;:)，、；：][\"')]?(?=\s)|[，、；：]")


def split_sentences(text: str, language: str) -> list[str]:
    """The sentences of a text that is as `clean` gives it."""
    from sentencex import segment

    found = (
        sentence.strip()
        for paragraph in _paragraphs(text)
        for sentence in segment(language, paragraph)
    )
    return [sentence for sentence in found if sentence]


def fitted(sentences: Sequence[str]) -> list[str]:
    """The same words in pieces of a good length for a voice: long sentences are cut where one would
    draw breath, short ones go together.
    """
    pieces: list[str] = []
    for sentence in sentences:
        for piece in _cut(sentence, MAX_CHARACTERS if pieces else MAX_FIRST_CHARACTERS):
            if pieces and _go_together(pieces[-1], piece, first=len(pieces) == 1):
                pieces[-1] = f"{pieces[-1]} {piece}"
            else:
                pieces.append(piece)
    return pieces


def _go_together(before: str, piece: str, *, first: bool) -> bool:
    short = SHORT_FIRST_CHARACTERS if first else SHORT_CHARACTERS
    most = MAX_FIRST_CHARACTERS if first else MAX_CHARACTERS
    return len(before) < short and len(before) + len(piece) < most


def _paragraphs(text: str) -> Iterator[str]:
    """New lines part list items, headings and paragraphs; others are only where a line was full."""
    kept: list[str] = []
    for line in text.split("\n"):
        if kept and _parts(kept[-1], line):
            yield " ".join(kept)
            kept = []
        if line:
            kept.append(NUMBER.sub(r"\1, ", MARKER.sub("", line)))
    if kept:
        yield " ".join(kept)


def _parts(before: str, line: str) -> bool:
    if not line or BULLET.match(line) or before[-1] in STOPS:
        return True
    return len(before) < WRAPPED_AT and not line[0].islower()


def _cut(sentence: str, most: int) -> Iterator[str]:
    while len(sentence) > most:
        at = _last_place(sentence[: most + 1], most)
        yield sentence[:at].strip()
        sentence = sentence[at:].strip()
    if sentence:
        yield sentence


def _last_place(window: str, most: int) -> int:
    """Where to cut: after the last clause, else at the last blank, else anywhere."""
    clauses = [found.end() for found in CLAUSES.finditer(window) if most // 3 < found.end() <= most]
    if clauses:
        return clauses[-1]
    blank = window.rfind(" ")
    return blank if blank > 0 else most
