"""`english_phonemes`: plain English words as the phonemes that espeak-ng writes, on which Piper's
voices were trained; from a word list, with what happens to words in running speech.
"""

# ruff: noqa: RUF001 - letters of the phonetic alphabet look like others.

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from onebox.audio.synthesis.text.english.homographs import homograph
from onebox.audio.synthesis.text.english.weak_forms import CITATION, LETTERS, PAIRS, WEAK

WORD = re.compile(r"[a-zß-öø-ÿœ]+(?:'[a-zß-öø-ÿœ]+)*'?|[.,;:!?()]", re.IGNORECASE)
PAUSES = frozenset(".,;:!?()")
VOWELS = frozenset("aeiouæɑɐəɚɛɜɪᵻɔʊʌ")
STRESSES = "ˈˌ"
VOICELESS = frozenset("ptkfθ")
SIBILANTS = frozenset("szʃʒ")
SHORTEST_STEM = 3
# Of contraction, in one word.
MAX_MARKS = 2


class Lexicon(Protocol):
    def lookup(self, word: str) -> str | None: ...

    def guess(self, word: str) -> str: ...


@dataclass(slots=True)
class _Word:
    """A word in its sentence.

    Attributes:
        text: in small letters; one capital for the name of a letter; a mark of punctuation.
        glued: a hyphen ties it to the word before.
        sounds: its phonemes; empty for punctuation.
    """

    text: str
    glued: bool = False
    sounds: str = ""

    @property
    def is_pause(self) -> bool:
        return self.text in PAUSES


def english_phonemes(text: str, lexicon: Lexicon) -> str:
    """The phonemes of one sentence, words set apart by blanks, punctuation kept.

    `text` is as `normalize` gives it: no figures, and a capital that stands alone is the name of
    a letter. What is neither a word nor punctuation is left out.
    """
    words = [
        _Word(_as_listed(found[0]), glued=text[found.start() - 1] == "-")
        for found in WORD.finditer(text)
    ]
    listed = [word.text for word in words]
    for index, word in enumerate(words):
        if not word.is_pause:
            last = index + 1 == len(words) or words[index + 1].is_pause
            word.sounds = homograph(listed, index) or _spoken(word.text, lexicon, last)
    return _written(_joined(words))


def _as_listed(found: str) -> str:
    return found if found in LETTERS else found.lower()


def _spoken(word: str, lexicon: Lexicon, last: bool) -> str:
    """A word's phonemes where it stands: `last` before a pause."""
    if word in LETTERS:
        return LETTERS[word]
    if last and word in CITATION:
        return CITATION[word]
    if word in WEAK:
        return WEAK[word]
    return _of_word(word.strip("'"), lexicon)


def _of_word(word: str, lexicon: Lexicon) -> str:
    plain = _without_accents(word)
    return (
        lexicon.lookup(word)
        or lexicon.lookup(plain)
        or _contracted(word, lexicon)
        or _inflected(word, lexicon)
        or lexicon.guess(plain)
    )


def _without_accents(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word.replace("œ", "oe").replace("æ", "ae"))
    return "".join(letter for letter in letters if letter.isascii())


def _contracted(word: str, lexicon: Lexicon) -> str | None:
    """ "Anna'll", "he'd've": what stands before the last mark, and its ending."""
    stem, _, ending = word.rpartition("'")
    say = CONTRACTIONS.get(ending)
    if say is None or not stem or stem.count("'") >= MAX_MARKS:
        return None
    sounds = _of_word(stem, lexicon)
    return sounds + say(sounds[-1:])


def _inflected(word: str, lexicon: Lexicon) -> str | None:
    """A word that is not listed, as one that is and an ending."""
    for ending, say in ENDINGS:
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= SHORTEST_STEM:
            sounds = lexicon.lookup(stem)
            if sounds:
                return sounds + say(sounds[-1])
    return None


def _plural(before: str) -> str:
    if before in SIBILANTS:
        return "ᵻz"
    return "s" if before in VOICELESS else "z"


def _past(before: str) -> str:
    if before in "td":
        return "ᵻd"
    return "t" if before in VOICELESS | SIBILANTS - {"z", "ʒ"} else "d"


def _would(before: str) -> str:
    return "əd" if before in "tdɾ" else "d"


CONTRACTIONS: Mapping[str, Callable[[str], str]] = {
    "d": _would,
    "ll": lambda before: "əl",
    "m": lambda before: "m",
    "re": lambda before: "ɚ",
    "s": _plural,
    "ve": lambda before: "əv",
}
ENDINGS = (
    ("es", _plural),
    ("s", _plural),
    ("ed", _past),
    ("ing", lambda before: "ɪŋ"),
    ("ly", lambda before: "li"),
    ("ness", lambda before: "nəs"),
    ("less", lambda before: "ləs"),
    ("er", lambda before: "ɚ"),
)


def _joined(words: list[_Word]) -> list[_Word]:
    """Pairs that are said as one, and the sounds at the seams of words."""
    result: list[_Word] = []
    for word in words:
        before = result[-1] if result else None
        pair = PAIRS.get((before.text, word.text)) if before else None
        if before and pair:
            before.text, before.sounds = f"{before.text} {word.text}", pair
        else:
            result.append(word)
    for index, word in enumerate(result):
        vowel = any(_begins_with_vowel(after.sounds) for after in result[index + 1 : index + 2])
        word.sounds = _seam(word, vowel)
    return result


def _begins_with_vowel(sounds: str) -> bool:
    return sounds.lstrip(STRESSES)[:1] in VOWELS if sounds else False


def _seam(word: _Word, vowel: bool) -> str:
    """How a word ends or is weakened before another: `vowel` where that begins with one."""
    sounds = word.sounds
    if vowel:
        if word.text.endswith("the"):
            return sounds.removesuffix("ə") + "ɪ"
        if word.text in ("at", "it"):
            return sounds.removesuffix("t") + "ɾ"
        if word.text == "to":
            return "tʊ"
        return sounds + "ɹ" if sounds.endswith(("ɚ", "ɜː")) else sounds
    return sounds.removesuffix("ɹ") if sounds.endswith("ɚɹ") else sounds


def _written(words: list[_Word]) -> str:
    parts: list[str] = []
    for word in words:
        if word.text == "(":
            parts.append(" (")
        elif word.is_pause:
            parts.append(word.text)
        elif not parts or parts[-1] == " (" or word.glued:
            parts.append(word.sounds)
        else:
            parts.append(f" {word.sounds}")
    return "".join(parts).strip()
