"""`normalize`: one sentence in the words of its language, no figures, signs and short forms."""

from __future__ import annotations

import re

from onebox.audio.synthesis.text.english.spoken import spoken_english
from onebox.audio.synthesis.text.numbers import number_words


def normalize(sentence: str, language: str) -> str:
    """`sentence` is as `clean` gives it; `language` as in ISO 639, "en".

    English is written out in full, and a capital that stands alone is the name of a letter. Of
    other languages numbers are, where the rules for them are known; all else passes as it is.
    """
    if language == "en":
        return spoken_english(sentence)
    return re.sub(r"\s+", " ", number_words(language).replaced(sentence)).strip()
