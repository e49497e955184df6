"""`spoken_english`: an English sentence as one would read it out, every word written in letters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from re import Match

from onebox.audio.synthesis.text.english.figures import Rule, cardinal, number_rules, ordinal
from onebox.audio.synthesis.text.english.short_forms import (
    ABBREVIATIONS,
    BEGINNINGS,
    COUNTED,
    NUMBERED,
    REGENTS,
    ROMAN,
    SAID_AS_WORDS,
    SUFFIXES,
    SYMBOLS,
    TITLES,
    words_of,
)
from onebox.audio.synthesis.text.english.shorthand import shorthand_rules, spelling_rules
from onebox.audio.synthesis.text.english.times import time_rules

SPELLED_BELOW = 4
SHOUTED_WORDS = 4
DOMAINS = "com|org|net|edu|gov|io|ai|dev|app|info|co|uk|de|fr|eu|us"
BEGINS = re.compile(rf" (?:{BEGINNINGS})\b")
ADDRESS_SIGNS = {".": " dot ", "/": " slash ", "-": " dash ", "_": " underscore ", "@": " at "}


def spoken_english(sentence: str) -> str:
    """Without figures, short forms and signs. A capital that stands alone is a letter's name.

    `sentence` is as `clean` gives it.
    """
    text = sentence
    if _is_shouted(text):
        text = text.lower()
    for pattern, said in _rules():
        text = pattern.sub(said, text)
    return re.sub(r"\s+", " ", text).replace(" ,", ",").strip()


def _is_shouted(text: str) -> bool:
    words = re.findall(r"[A-Za-z]{2,}", text)
    return len(words) >= SHOUTED_WORDS and all(word.isupper() for word in words)


def _address(found: Match[str]) -> str:
    """An address of the web or of a mailbox, without what is the same in all of them."""
    written = re.sub(r"^(?:https?://)?(?:www\.)?", "", found[0], flags=re.IGNORECASE)
    end = written[len(written.rstrip(".,;:!?)]}'\"")) :]
    path = re.split(r"[?#]", written.removesuffix(end), maxsplit=1)[0].rstrip("/")
    said = "".join(ADDRESS_SIGNS.get(sign, sign) for sign in path)
    return re.sub(r"\b(io|ai|uk|eu|us|de|fr)\b", _letters, said) + end


def _letters(found: Match[str]) -> str:
    return _letters_of(found[0])


def _letters_of(word: str) -> str:
    return " ".join(re.findall(r"[A-Z]", word.upper()))


def _dotted(found: Match[str]) -> str:
    """U.S., J. R. R.: letters with points between them."""
    known = ABBREVIATIONS.get(found[0].rstrip(".").lower())
    return (known or _letters_of(found[0])) + _full_stop(found)


def _abbreviation(found: Match[str]) -> str:
    return ABBREVIATIONS[found[1].lower()] + _full_stop(found)


def _suffix(found: Match[str]) -> str:
    return f" {SUFFIXES[found[1].lower()]}" + _full_stop(found)


def _full_stop(found: Match[str]) -> str:
    """The point of a short form may have ended the sentence, too."""
    rest = found.string[found.end() :]
    return "." if found[0].endswith(".") and (not rest or BEGINS.match(rest)) else ""


def _saint_or_street(found: Match[str]) -> str:
    return f"{found[1]} Street{_full_stop(found)}" if found[1] else "Saint "


def _roman(found: Match[str]) -> str:
    word, number = found[1], ROMAN[found[2]]
    if word in words_of(REGENTS) and len(found[2]) > 1:
        return f"{word} the {ordinal(number)}"
    if len(found[2]) == 1 and word not in words_of(NUMBERED):
        return found[0]
    return f"{word} {cardinal(str(number))}"


def _capitals(found: Match[str]) -> str:
    """NASA is a word, FBI three letters; a plural s stays with the last."""
    word, plural = found[1], found[2] or ""
    if word in words_of(SAID_AS_WORDS) or (
        len(word) >= SPELLED_BELOW and re.search("[AEIOUY]", word)
    ):
        return word.lower() + plural
    return " ".join(word) + ("'s" if plural else "")


def _letter(found: Match[str]) -> str:
    return found[0].upper()


def _short(forms: Mapping[str, str], after: str, before: str = r"\b") -> re.Pattern[str]:
    """Short forms with their point. What goes before a number or a name, may begin a sentence."""
    listed = "|".join(re.escape(form) for form in forms if "." not in form)
    return re.compile(rf"{before}({listed})\.{after}", re.IGNORECASE)


@cache
def _rules() -> tuple[Rule, ...]:
    """In their order: each works on what those before it have left."""
    roman = "|".join(sorted(ROMAN, key=len, reverse=True))
    signs = "".join(re.escape(sign) for sign in SYMBOLS)
    return (
        (
            re.compile(
                r"(?<![\w.+-])(?:[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}"
                r"|(?:https?://|www\.)[^\s<>\"]{1,400}"
                rf"|(?:[a-z0-9-]{{1,63}}\.){{1,4}}(?:{DOMAINS})(?:/[^\s<>\"]{{0,400}})?)(?![\w-])",
                re.IGNORECASE,
            ),
            _address,
        ),
        (re.compile(r"\bA(?= (?!(?:is|was|and|or|to) )\w)"), lambda found: "a"),
        (re.compile(r"#(?=\d)|\bNo(?=\d)"), lambda found: "number "),
        (re.compile(r"#(?=[A-Za-z])"), lambda found: "hashtag "),
        (re.compile(r"\bC\+\+"), lambda found: "C plus plus"),
        (re.compile(r"\b([CF])#"), lambda found: f"{found[1]} sharp"),
        (re.compile(r"(\d)'(\d{1,2})(?:\"|'')"), lambda found: f"{found[1]} foot {found[2]}"),
        *time_rules(),
        (re.compile(rf"\b([A-Z][a-z]{{1,20}}) ({roman})\b"), _roman),
        *shorthand_rules(),
        (
            re.compile(
                r"\b[Pp]h\.[Dd]\b\.?|\b[A-Za-z](?:\.[A-Za-z]){1,6}\b\.?|\b[A-Z]\.(?: [A-Z]\.){1,4}"
            ),
            _dotted,
        ),
        (re.compile(r"\b([A-Z][a-z]{2,20}) St\.|\bSt\. ?(?=[A-Z])"), _saint_or_street),
        (_short(TITLES, r"(?= ?[A-Z])"), lambda found: TITLES[found[1].lower()]),
        (_short(COUNTED, r" ?(?=\d)"), lambda found: f"{COUNTED[found[1].lower()]} "),
        (_short(SUFFIXES, r"(?=\W|$)", r"(?<=[a-z],|.[a-z]) "), _suffix),
        (_short(ABBREVIATIONS, r"(?=\W|$)"), _abbreviation),
        (re.compile(r"(?<=[A-Za-z])-(?=\d)"), lambda found: " "),
        *number_rules(),
        (
            re.compile(r"\b(and|he|his|she)/(or|she|her|he)\b"),
            lambda found: f"{found[1]} {found[2]}",
        ),
        (re.compile(r"\b(?:OK|Ok|ok)\b"), lambda found: "okay"),
        (re.compile(r"\b([A-Z]{2,12})('?s)?\b"), _capitals),
        *spelling_rules(),
        (re.compile(r"(?<![A-Za-z'])[b-hj-z](?![A-Za-z'])"), _letter),
        (re.compile(f"[{signs}]"), lambda found: SYMBOLS[found[0]]),
        (re.compile(r"[*_~|\\{}\[\]#¿¡]"), lambda found: " "),
    )
