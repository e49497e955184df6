"""`EnglishLexicon`: how English words are said, in the phonemes that espeak-ng writes for American
English. The data are those of the package gruut-lang-en: a list of 124,000 words, and a model that
guesses the sounds of any other from its letters.
"""

# ruff: noqa: RUF001 - letters of the phonetic alphabet look like others.

from __future__ import annotations

import sqlite3
import threading
from base64 import b64decode, b64encode
from contextlib import closing
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = "gruut_lang_en"
MAX_GUESSED_LETTERS = 40
KEPT_GUESSES = 4096
CONTEXT_LETTERS = 3
# What the model gives for a letter that is not heard, and between the sounds of one letter.
SILENT = "_"
BETWEEN = "|"


@cache
def english_lexicon() -> EnglishLexicon:
    """The one of this process, read when it is first wanted."""
    spec = find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        raise RuntimeError("the package gruut-lang-en is missing; reinstall Onebox")
    return EnglishLexicon(Path(next(iter(places))) / "espeak")


class EnglishLexicon:
    """Used from any thread.

    Args:
        folder: with `lexicon.db` and `g2p/model.crf`.
    """

    def __init__(self, folder: Path) -> None:
        self._words = _read_words(folder / "lexicon.db")
        self._lock = threading.Lock()
        self._tagger = _open_tagger(folder / "g2p" / "model.crf")
        self._remembered = lru_cache(KEPT_GUESSES)(self._guess)

    def lookup(self, word: str) -> str | None:
        """The phonemes of a word in small letters, stress marks before the vowels; None if it is
        not on the list.
        """
        return self._words.get(word)

    def guess(self, word: str) -> str:
        """The same of any word: what its letters are likely to mean."""
        return self._remembered(word[:MAX_GUESSED_LETTERS])

    def _guess(self, letters: str) -> str:
        with self._lock:
            labels = self._tagger.tag([_features(letters, i) for i in range(len(letters))])
        sounds = "".join(b64decode(label).decode() for label in labels)
        return sounds.replace(SILENT, "").replace(BETWEEN, "")


def _read_words(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        rows = database.execute(
            "SELECT word, phonemes FROM word_phonemes WHERE pron_order = 0 ORDER BY id"
        )
        return {word: _mended(word, phonemes.replace(" ", "")) for word, phonemes in rows}


def _mended(word: str, phonemes: str) -> str:
    """The list was made of running words: some caught a sound of their neighbour. Nor does
    espeak-ng tell two kinds of long o apart any more.
    """
    if phonemes.endswith("ŋ") and "ng" not in word[-4:]:
        phonemes = phonemes[:-1] + "n"
    return phonemes.replace("oː", "ɔː")


def _open_tagger(path: Path) -> Any:
    import pycrfsuite

    tagger = pycrfsuite.Tagger()
    tagger.open(str(path))
    return tagger


def _features(word: str, index: int) -> dict[str, Any]:
    """What the model was trained to see of a letter: itself and three on either side."""
    features: dict[str, Any] = {"bias": 1.0, "grapheme": _coded(word[index])}
    for step in range(1, CONTEXT_LETTERS + 1):
        if index >= step:
            features[f"grapheme-{step}"] = _coded(word[index - step])
        if index + step < len(word):
            features[f"grapheme+{step}"] = _coded(word[index + step])
    if index == 0:
        features["begin"] = True
    if index == len(word) - 1:
        features["end"] = True
    return features


def _coded(letter: str) -> str:
    return b64encode(letter.encode()).decode("ascii")
