"""`NumberWords`: numbers as words of one language, by the rules of Unicode's CLDR."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Literal

# More digits than these are read one by one; the rules end at 10¹⁸.
MAX_DIGITS = 15
FIGURES = re.compile(r"\d{1,3}(?:[.,\u202f ]\d{3}){1,5}(?:[.,]\d+)?(?!\d)|\d+(?:[.,]\d+)?")
# Where a point parts the decimals, and a comma the thousands. Elsewhere it is the other way round.
POINT_LANGUAGES = frozenset(
    {"en", "zh", "ja", "ko", "th", "he", "hi", "bn", "ta", "te", "mr", "ur", "ms", "sw", "am", "km"}
)
# Written without blanks between words.
SPACELESS_LANGUAGES = frozenset({"zh", "ja", "th", "my", "km", "lo"})

Purpose = Literal["CARDINAL", "ORDINAL", "YEAR"]


@cache
def number_words(language: str) -> NumberWords:
    return NumberWords(language)


class NumberWords:
    """Used from any thread.

    Args:
        language: as in ISO 639, "en". Of one that the library does not know, figures stay figures.
    """

    def __init__(self, language: str) -> None:
        self._engine = _engine(language)
        self._point = language in POINT_LANGUAGES
        self._spaceless = language in SPACELESS_LANGUAGES

    def cardinal(self, figures: str) -> str:
        """ "12" and "12.50", without marks between thousands. Many digits are read one by one."""
        whole, point, decimals = figures.partition(".")
        if len(whole) > MAX_DIGITS or (len(whole) > 1 and whole[0] == "0"):
            return self.digits(figures)
        if not point:
            return self._say(int(whole), "CARDINAL")
        if len(decimals) > MAX_DIGITS:
            return self.digits(figures)
        return self._say(f"{int(whole)}.{decimals}", "CARDINAL")

    def ordinal(self, number: int) -> str:
        return self._say(number, "ORDINAL")

    def year(self, number: int) -> str:
        return self._say(number, "YEAR")

    def digits(self, figures: str) -> str:
        """Digit by digit; what is none is left out."""
        said = (self._say(int(digit), "CARDINAL") for digit in figures if digit.isdecimal())
        return " ".join(said)

    def replaced(self, text: str) -> str:
        """A text with its numbers as words."""
        return FIGURES.sub(self._apart, text)

    def _apart(self, found: re.Match[str]) -> str:
        """The words of a number, which do not run into those beside them."""
        said = self._figures(found[0])
        if self._spaceless:
            return said
        before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
        return (" " if before.isalpha() else "") + said + (" " if after.isalpha() else "")

    def _figures(self, figures: str) -> str:
        thousands, decimal = (",", ".") if self._point else (".", ",")
        grouped = len(re.findall(r"\d{3}", figures.partition(thousands)[2])) > 0
        plain = figures.replace(" ", "").replace("\u202f", "")
        plain = plain.replace(thousands, "" if grouped else decimal).replace(decimal, ".")
        return self.cardinal(plain) if plain.count(".") <= 1 else self.digits(plain)

    def _say(self, number: int | str, purpose: Purpose) -> str:
        if self._engine is None:
            return str(number)
        from unicode_rbnf import FormatPurpose
        from unicode_rbnf.engine import NoRuleForNumberError

        try:
            said = self._engine.format_number(number, FormatPurpose[purpose])
        except (NoRuleForNumberError, ValueError):
            return str(number)
        return str(said.text).replace("\xad", "")


def _engine(language: str) -> Any:
    from unicode_rbnf import RbnfEngine

    try:
        return RbnfEngine.for_language(language)
    except ValueError:  # The library has no rules for it.
        return None
