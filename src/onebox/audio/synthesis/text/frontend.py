"""`speakable`: a text as its sentences in what a voice's tokenizer takes: letters or phonemes."""

# ruff: noqa: RUF001 - punctuation of Chinese and Japanese looks like others.

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onebox.audio.synthesis.text.cleaning import clean
from onebox.audio.synthesis.text.english.lexicon import english_lexicon
from onebox.audio.synthesis.text.english.phonemes import english_phonemes
from onebox.audio.synthesis.text.espeak import espeak_is_here, espeak_phonemes
from onebox.audio.synthesis.text.normalize import normalize
from onebox.audio.synthesis.text.sentences import fitted, split_sentences
from onebox.core.errors import InvalidInput, TaskNotSupported

ENGLISH = "en"
LETTER = re.compile(r"\b[A-Z]\b")
LETTER_NAMES: Mapping[str, str] = {
    "A": "ay", "B": "bee", "C": "see", "D": "dee", "E": "ee", "F": "ef", "G": "gee", "H": "aitch",
    "I": "I", "J": "jay", "K": "kay", "L": "el", "M": "em", "N": "en", "O": "oh", "P": "pee",
    "Q": "cue", "R": "ar", "S": "ess", "T": "tee", "U": "you", "V": "vee", "W": "double you",
    "X": "ex", "Y": "why", "Z": "zee",
}  # fmt: skip
# Silence after a piece of text, by the sign at its end; where it has none, it was cut.
PAUSES_S: Mapping[str, float] = {".!?…。！？": 0.25, ";:；：": 0.2, ",，、": 0.12}
CUT_PAUSE_S = 0.05
CLOSING = "\"')]}”’»」』 "


@dataclass(frozen=True, slots=True)
class Sentence:
    """
    Attributes:
        text: what the voice's tokenizer takes.
        pause_s: silence to be kept after it.
    """

    text: str
    pause_s: float


def speakable(text: str, facts: Mapping[str, Any], language: str | None = None) -> list[Sentence]:
    """The sentences of a text as a voice can speak them.

    Args:
        facts: of the voice: "language", "phonemes" and "symbols".
        language: of the text; by default the voice's.

    Raises InvalidInput when nothing of the text can be spoken, and TaskNotSupported when the
    voice wants phonemes of a language for which nothing here knows them.
    """
    language = language or facts["language"] or ENGLISH
    write = _writer(facts["phonemes"], language)
    known = frozenset(facts["symbols"]) if facts["symbols"] else None
    plain = [_ended(found) for found in split_sentences(clean(text), language)]
    pieces = fitted([normalize(sentence, language) for sentence in plain])
    written = [Sentence(_within(write(piece), known), _pause_s(piece)) for piece in pieces]
    spoken = [sentence for sentence in written if _has_sound(sentence.text)]
    if not spoken:
        raise InvalidInput(
            "there is nothing to say: the text has no word in letters that this voice knows; "
            f"write some in its language ({language})",
            param="input",
        )
    return spoken


def _writer(phonemes: str | None, language: str) -> Callable[[str], str]:
    if phonemes is None:
        return _spelled if language == ENGLISH else str
    if espeak_is_here():
        return lambda piece: espeak_phonemes(
            _spelled(_in_latin(piece)) if language == ENGLISH else piece, language
        )
    if language == ENGLISH:
        return lambda piece: english_phonemes(piece, english_lexicon())
    raise TaskNotSupported(
        f"this voice speaks {language} by its phonemes, and Onebox itself knows those of English "
        "alone; install espeak-ng beside it: pip install 'onebox[espeak]'"
    )


def _spelled(piece: str) -> str:
    """With the names of letters as words."""
    return LETTER.sub(lambda found: LETTER_NAMES[found[0]], piece)


def _in_latin(piece: str) -> str:
    """Without letters of other scripts, which espeak-ng would call "Chinese letter" and so on."""
    return "".join(
        character
        for character in piece
        if not character.isalpha() or unicodedata.name(character, "").startswith("LATIN")
    )


def _ended(sentence: str) -> str:
    """A heading or list item is a sentence, too, and voices fall at its end where it says so."""
    return f"{sentence}." if _pause_s(sentence) == CUT_PAUSE_S else sentence


def _pause_s(piece: str) -> float:
    last = piece.rstrip(CLOSING)[-1:]
    return next((pause for signs, pause in PAUSES_S.items() if last and last in signs), CUT_PAUSE_S)


def _within(text: str, known: frozenset[str] | None) -> str:
    """Only what the voice's tokenizer knows: a sign it lacks becomes a near one, or a blank."""
    if known is None:
        return text
    kept = "".join(_nearest(character, known) for character in text)
    return re.sub(r" +", " ", kept).strip()


def _nearest(character: str, known: frozenset[str]) -> str:
    if character in known or character.isspace():
        return character
    cases = character.lower() + character.upper()
    near = cases + unicodedata.normalize("NFD", cases)
    found = next((other for other in near if other in known), None)
    if found is not None:
        return found
    return "" if character.isalnum() or unicodedata.combining(character) else " "


def _has_sound(text: str) -> bool:
    return any(character.isalnum() for character in text)
