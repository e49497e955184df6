"""How English writers shorten: "w/o", "Mon-Fri", "Mr Smith", "George W. Bush", "XIV", "a.txt"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from re import Match

from onebox.audio.synthesis.text.english.figures import AMOUNT, Rule, cardinal
from onebox.audio.synthesis.text.english.short_forms import BEGINNINGS, TITLES

SLASHED: Mapping[str, str] = {
    "a/c": "A C",
    "b/c": "because",
    "c/o": "care of",
    "n/a": "not applicable",
    "w/": "with",
    "w/o": "without",
}
DAYS: Mapping[str, str] = {
    "Mon": "Monday",
    "Tue": "Tuesday",
    "Wed": "Wednesday",
    "Thu": "Thursday",
    "Fri": "Friday",
    "Sat": "Saturday",
    "Sun": "Sunday",
}
DAY = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun)(?:s|rs?)?"
# The British write them without a point.
PLAIN_TITLES = "Mr|Mrs|Ms|Dr|Prof|Rev|Sgt|Capt|Lt|Mt"
FILE_KINDS = (
    "bat|bin|bmp|cfg|conf|cpp|css|csv|dll|doc|docx|exe|gif|gz|html|ini|jar|java|jpeg|jpg|js|json|"
    "log|md|mp3|mp4|onnx|pdf|php|png|ppt|pptx|py|rar|rb|rs|rtf|safetensors|sh|sql|svg|tar|toml|ts|"
    "txt|wav|xls|xlsx|xml|yaml|yml|zip"
)
SAID_KINDS = frozenset({
    "bat", "bin", "conf", "doc", "gif", "jar", "java", "jpeg", "json", "log", "safetensors",
    "tar", "toml", "yaml", "zip",
})  # fmt: skip
NUMERALS = {"M": 1000, "D": 500, "C": 100, "L": 50, "X": 10, "V": 5, "I": 1}
# Those that are no word and no short form, whatever is beside them.
ROMAN = (
    r"(?=[MDCLXVI]{4})M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
    r"|I{2,3}|VI{2,3}|XI{2,3}|XIV|XVI|XIX|XX|XXI"
)
# Said without a vowel.
SOUNDS = frozenset({
    "hm", "hmm", "mhm", "mm", "mmm", "pst", "psst", "sh", "shh", "brr", "grr", "pfft", "tsk",
    "nth", "zzz",
})  # fmt: skip


def roman_value(numeral: str) -> int:
    values = [NUMERALS[letter] for letter in numeral]
    following = [*values[1:], 0]
    return sum(-one if one < after else one for one, after in zip(values, following, strict=True))


def _slashed(found: Match[str]) -> str:
    return SLASHED[found[0].lower()] + (" " if found[0].endswith("/") else "")


def _days(found: Match[str]) -> str:
    return f"{DAYS[found[1]]} to {DAYS[found[2]]}"


def _signed(written: str) -> str:
    return ("minus " if written[0] == "-" else "") + cardinal(written.lstrip("+-"))


def _scientific(found: Match[str]) -> str:
    amount, power = (_signed(written) for written in (found[1], found[2] + found[3]))
    return f"{amount} times ten to the power of {power}"


def _file(found: Match[str]) -> str:
    kind = found[1].lower()
    return f" dot {kind if kind in SAID_KINDS else ' '.join(kind.upper())}"


def _no_vowels(found: Match[str]) -> str:
    return found[0] if found[0] in SOUNDS else " ".join(found[0].upper())


@cache
def shorthand_rules() -> Sequence[Rule]:
    slashed = "|".join(sorted(map(re.escape, SLASHED), key=len, reverse=True))
    as_word: Callable[[Match[str]], str] = lambda found: cardinal(str(roman_value(found[0])))  # noqa: E731
    return (
        (re.compile(rf"(?<![\w/])(?:{slashed})(?![\w/])", re.IGNORECASE), _slashed),
        (re.compile(rf"\b{DAY}\.?-{DAY}\b\.?"), _days),
        (
            re.compile(rf"\b{DAY}\.(?=,| (?:[a-z\d]|[A-Z][a-z]{{2,8}}\.? \d))"),
            lambda found: DAYS[found[1]],
        ),
        (
            re.compile(rf"\b({PLAIN_TITLES}) (?=[A-Z])"),
            lambda found: f"{TITLES[found[1].lower()]} ",
        ),
        (re.compile(r"\bSt (?=[A-Z][a-z])"), lambda found: "Saint "),
        (re.compile(r"\bFt\. ?(?=[A-Z])"), lambda found: "Fort "),
        (
            re.compile(
                r"((?:\b[A-Z][a-z]{1,20} |(?<=[a-z] )|^)[A-Z])\."
                rf"(?= (?!(?:{BEGINNINGS})\b)[A-Z][a-z])"
            ),
            lambda found: found[1],
        ),
        (re.compile(r"\bWWI(I?)\b"), lambda found: f"World War {'two' if found[1] else 'one'}"),
        (re.compile(rf"\b(?:{ROMAN})(?<=[A-Z])\b"), as_word),
        (
            re.compile(rf"(?<=[\w)])\.({FILE_KINDS})\b", re.IGNORECASE),
            _file,
        ),
        (re.compile(rf"(?<![\w.])(-?{AMOUNT})[eE]([+-]?)(\d{{1,4}})(?!\w)"), _scientific),
        (re.compile(r"\bet al\b\.?"), lambda found: "et al"),
        (re.compile(r"\bvs\b(?!\.)"), lambda found: "versus"),
        (re.compile(r"\bv(?=\d+\.\d)"), lambda found: "version "),
    )


@cache
def spelling_rules() -> Sequence[Rule]:
    """For what the others have left: words that nobody could say."""
    return ((re.compile(r"(?<![\w'])[b-df-hj-np-tv-xz]{2,6}(?![\w'])"), _no_vowels),)
