"""What English dates and times stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from re import Match

from onebox.audio.synthesis.text.english.figures import Rule, cardinal, ordinal, year
from onebox.audio.synthesis.text.english.short_forms import MONTH_NAMES, MONTHS

MONTH = r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)([a-z]{1,6}|\.|)"
HALF = r"(?:\s?([AaPp])\.?[Mm]\b\.?)"


def _date(of_year: int, month: int, day: int, written: str) -> str:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return " ".join(cardinal(part) for part in re.findall(r"\d+", written))
    return f"{MONTH_NAMES[month - 1]} {ordinal(day)}, {year(of_year)}"


def _iso_date(found: Match[str]) -> str:
    return _date(int(found[1]), int(found[2]), int(found[3]), found[0])


def _dotted_date(found: Match[str]) -> str:
    """Day first, as wherever points are written."""
    return _date(int(found[3]), int(found[2]), int(found[1]), found[0])


def _month_of_year(found: Match[str]) -> str:
    return f"{MONTH_NAMES[int(found[1]) - 1]} {year(int(found[2]))}"


def _slashed_date(found: Match[str]) -> str:
    month, day, of_year = int(found[1]), int(found[2]), int(found[3])
    if month > 12:
        month, day = day, month
    return _date(of_year + 2000 if of_year < 100 else of_year, month, day, found[0])


def _month(found: Match[str], group: int) -> str | None:
    """Its name, if the letters after the short form make one."""
    short, rest = found[group], found[group + 1]
    name = MONTHS[short.lower()]
    return name if rest in ("", ".") or short + rest == name else None


def _month_first(found: Match[str]) -> str:
    name = _month(found, 1)
    day = int(found[3])
    if name is None or not 1 <= day <= 31:
        return found[0]
    return f"{name} {ordinal(day)}" + (
        f", {year(int(found[4]))}" if found[4] else _full_stop(found)
    )


def _day_first(found: Match[str]) -> str:
    name = _month(found, 2)
    day = int(found[1])
    if name is None or not 1 <= day <= 31:
        return found[0]
    return f"the {ordinal(day)} of {name}" + (
        f" {year(int(found[4]))}" if found[4] else _full_stop(found)
    )


def _time(found: Match[str]) -> str:
    hour, minute, half = int(found[1]), int(found[2]), found[4]
    if hour > 24 or minute > 59:
        return f"{cardinal(found[1])} to {cardinal(found[2])}"
    parts = [cardinal(str(hour))]
    if minute:
        parts.append(f"oh {cardinal(str(minute))}" if minute < 10 else cardinal(str(minute)))
    elif not half:
        parts.append("o'clock" if 1 <= hour <= 12 else "hundred hours")
    if found[3]:
        parts.append(f"and {cardinal(str(int(found[3])))} seconds")
    return " ".join(parts) + (f" {half.upper()} M" if half else "") + _full_stop(found)


def _hour(found: Match[str]) -> str:
    return f"{cardinal(found[1])} {found[2].upper()} M" + _full_stop(found)


def _ratio(found: Match[str]) -> str:
    return f"{found[1]} to "


def _full_stop(found: Match[str]) -> str:
    """The point of "p.m." may have ended the sentence, too."""
    return "." if found[0].endswith(".") and found.end() == len(found.string) else ""


@cache
def time_rules() -> Sequence[Rule]:
    return (
        (re.compile(r"(?<![\d-])(\d{4})-(\d{2})-(\d{2})(?![\d-])"), _iso_date),
        (re.compile(r"(?<![\d/])(\d{4})/(\d{2})/(\d{2})(?![\d/])"), _iso_date),
        (re.compile(r"(?<![\d.])(\d{1,2})\.(\d{1,2})\.((?:19|20)\d{2})(?![\d.]\d)"), _dotted_date),
        (re.compile(r"(?<![\d/])(0?[1-9]|1[0-2])/((?:19|20)\d{2})(?![\d/])"), _month_of_year),
        (re.compile(r"(?<![\d/])(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?![\d/])"), _slashed_date),
        (
            re.compile(rf"\b{MONTH}\s(\d{{1,2}})(?:st|nd|rd|th)?(?![\d:])(?:,?\s(\d{{4}})\b)?"),
            _month_first,
        ),
        (
            re.compile(
                rf"(?:\b[Tt]he\s)?(?<![\d.,:/-])(\d{{1,2}})(?:st|nd|rd|th)?(?:\sof)?\s{MONTH}"
                r"(?![a-z])(?:,?\s(\d{4})\b)?"
            ),
            _day_first,
        ),
        (re.compile(rf"(?<![\d:])(\d{{1,2}}):(\d{{2}})(?::(\d{{2}}))?(?![\d:]){HALF}?"), _time),
        (re.compile(rf"(?<![\d:.,])(\d{{1,2}}){HALF}"), _hour),
        (re.compile(r"(?<![\d:])(\d{1,4}):(?=\d{1,4}(?![\d:]))"), _ratio),
    )
