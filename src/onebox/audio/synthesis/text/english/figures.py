"""What English figures stand for, but for dates and times: money, measures, fractions, numbers."""

# ruff: noqa: RUF001 - typographic signs look like others.

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from re import Match

from onebox.audio.synthesis.text.english.short_forms import MONEY, MONEY_CODES, SCALES, UNITS
from onebox.audio.synthesis.text.numbers import number_words

Rule = tuple[re.Pattern[str], Callable[[Match[str]], str]]

AMOUNT = r"(?:\d{1,3}(?:,\d{3}){1,5}|\d{1,18})(?:\.\d{1,15})?(?!\d)"
# A number with four figures and no mark between them is read like a year: "nineteen eighty-four".
FIRST_YEAR, LAST_YEAR = 1001, 2099
FRACTIONS = {2: ("half", "halves"), 4: ("quarter", "quarters")}
PRICED = "bills?|notes?|coins?|tickets?|fines?|fees?|coupons?|discounts?|deals?|tips?"
# Said by two numbers side by side.
SIDE_BY_SIDE = {(24, 7), (9, 11), (50, 50)}


def cardinal(figures: str) -> str:
    return number_words("en").cardinal(figures.replace(",", ""))


def ordinal(number: int) -> str:
    return number_words("en").ordinal(number)


def year(number: int) -> str:
    return number_words("en").year(number)


def _money(found: Match[str]) -> str:
    code = found["code"]
    sign = found["sign"] or MONEY_CODES.get(code, code)
    amount = (found["signed"] or found["coded"]).replace(",", "")
    one, many, cent, cents = MONEY[sign]
    if found["scale"] or found["letter"]:
        scale = found["scale"] or SCALES[found["letter"].lower()]
        return f"{cardinal(amount)} {scale} {many}"
    whole, _, hundredths = amount.partition(".")
    if len(hundredths) != 2:
        return f"{cardinal(amount)} {one if amount == '1' else many}"
    parts = [f"{cardinal(whole)} {one if whole == '1' else many}"] if int(whole) else []
    if int(hundredths):
        parts.append(f"{cardinal(str(int(hundredths)))} {cent if hundredths == '01' else cents}")
    return " and ".join(parts) or f"zero {many}"


def _money_range(found: Match[str]) -> str:
    return f"{cardinal(found[2])} to {cardinal(found[3])} {MONEY[found[1]][1]}"


def _phone(found: Match[str]) -> str:
    groups = [number_words("en").digits(group) for group in re.findall(r"\d+", found[0])]
    return ("plus " if found[0].startswith("+") else "") + ", ".join(groups)


def _version(found: Match[str]) -> str:
    return " point ".join(cardinal(part) for part in found[0].split("."))


def _fraction(found: Match[str]) -> str:
    whole, top, bottom = found[1], int(found[2]), int(found[3])
    if (top, bottom) in SIDE_BY_SIDE:
        return f"{cardinal(found[2])} {cardinal(found[3])}"
    if not 1 < bottom <= 100 or not 0 < top < bottom:
        return f"{cardinal(found[2])} over {cardinal(found[3])}"
    one, many = FRACTIONS.get(bottom) or (ordinal(bottom), f"{ordinal(bottom)}s")
    if whole:
        return f"{cardinal(whole)} and {'a' if top == 1 else cardinal(found[2])} " + (
            one if top == 1 else many
        )
    return f"{cardinal(found[2])} {one if top == 1 else many}"


def _measure(found: Match[str]) -> str:
    one, many = UNITS[found[2]]
    per = found[3]
    said = f"{cardinal(found[1])} {one if found[1] == '1' else many}"
    return said + (f" per {UNITS[per][0] if per in UNITS else per}" if per else "")


def _of_size(found: Match[str]) -> str:
    """A 5-lb bag."""
    return f"{cardinal(found[1])} {UNITS[found[2]][0]}"


def _inches(found: Match[str]) -> str:
    said = f"{cardinal(found[1])} {'inch' if found[1] == '1' else 'inches'}"
    return said + ("" if found.string[found.end() :] else ".")


def _priced(found: Match[str]) -> str:
    """A $5 bill."""
    return f"{cardinal(found[2])} {MONEY[found[1]][0]}"


def _with_comma(found: Match[str]) -> str:
    """1.234,56 as much of the world writes it."""
    return found[0].replace(".", "").replace(",", ".")


def _scaled(found: Match[str]) -> str:
    return f"{cardinal(found[1])} {SCALES[found[2].lower()]}"


def _nth(found: Match[str]) -> str:
    return ordinal(int(found[1].replace(",", "")))


def _decade(found: Match[str]) -> str:
    before, number = found[1].lstrip("'"), int(found[2])
    said = year(number) if number >= FIRST_YEAR else cardinal(found[2])
    return before + (said[:-1] + "ies" if said.endswith("y") else said + "s")


def _number(found: Match[str]) -> str:
    figures = found[0]
    is_year = len(figures) == 4 and figures.isdecimal()
    if is_year and FIRST_YEAR <= int(figures) <= LAST_YEAR:
        return year(int(figures))
    return cardinal(figures)


def _range(found: Match[str]) -> str:
    return f"{found[1]} to "


def _serial(found: Match[str]) -> str:
    return number_words("en").digits(found[0])


@cache
def number_rules() -> Sequence[Rule]:
    unit = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
    codes = "|".join([*MONEY_CODES, "[€£¥₹]"])
    signs = "[" + "".join(MONEY) + "]"
    return (
        (re.compile(r"(?<![\w.])\.(?=\d)"), lambda found: "0."),
        (re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3}){1,4},\d{1,2}(?![\d.,])"), _with_comma),
        (re.compile(r"(?<=[€£$])\d{1,6},\d{2}(?![\d,])"), _with_comma),
        (re.compile(r"(?<=\d) ?- ?(?=\d[\d.,]{0,14} ?=)"), lambda found: " minus "),
        (
            re.compile(rf"\b([Bb]etween )({signs}?{AMOUNT})\s?-\s?(?={signs}?\d)"),
            lambda found: f"{found[1]}{found[2]} and ",
        ),
        (re.compile(rf"({signs})(\d{{1,5}})(?= (?:{PRICED})\b)"), _priced),
        (re.compile(rf"(?<![\w)-])-(?={signs}?\d)"), lambda found: "minus "),
        (re.compile(rf"({signs})({AMOUNT})\s?-\s?{signs}?({AMOUNT})(?![-])"), _money_range),
        (
            re.compile(
                rf"(?:(?P<sign>{signs})\s?(?P<signed>{AMOUNT})|(?<![\d.,])(?P<coded>{AMOUNT})\s?"
                rf"(?P<code>{codes})(?!\w))(?:\s?(?P<scale>thousand|million|billion|trillion)\b|"
                r"(?P<letter>bn|mn|[kKmMbBtT])\b)?"
            ),
            _money,
        ),
        (
            re.compile(
                r"(?<![\w+])(?:\+\d{1,3}[ .-]?|1[ .-])?"
                r"(?:\(\d{3}\)[ ]?|\b\d{3}[ .-])\d{3}[.-]\d{4}\b"
                r"|\+\d{1,3}(?:[ .-]?\d{2,5}){1,5}\b|\b\d{3}-\d{4}\b|\b\d{2,5}(?:-\d{2,5}){2,5}\b"
            ),
            _phone,
        ),
        (re.compile(r"(?<![\d.])\d{1,4}(?:\.\d{1,4}){2,6}(?![\d])"), _version),
        (re.compile(r"(?<![\d/.])(?:(\d{1,4})\s)?(\d{1,3})[/⁄](\d{1,3})(?![\d/])"), _fraction),
        (re.compile(r"(?<![\w.,-])(\d[\d,.]{0,14})\s?-\s?(?=\d[\d,.]{0,14}(?![\d-]))"), _range),
        (re.compile(r"(?<!\w)()(\d{3}0)'?s\b"), _decade),
        (re.compile(r"(?<!\w)('|(?:[Tt]he|[Ee]arly|[Ll]ate|[Mm]id)[ -])(\d0)'?s\b"), _decade),
        (re.compile(rf"(?<![\d.,])({AMOUNT})-({unit})(?=[ -][a-z])"), _of_size),
        (re.compile(rf"(?<![\d.,])({AMOUNT}) in\.(?=,| [a-z]|$)"), _inches),
        (
            re.compile(
                rf"(?<![\d.,])({AMOUNT})\s?({unit})(?:/({unit}|day|week|month|year))?(?![\w°])"
                r"(?:\.(?=,| [a-z\d]))?"
            ),
            _measure,
        ),
        (re.compile(r"\b(\d{1,3}(?:,\d{3}){0,4}|\d{1,15})(?:st|nd|rd|th)\b"), _nth),
        (re.compile(r"(?<![\w.])(\d{1,4})x(?=\d)"), lambda found: f"{found[1]} by "),
        (
            re.compile(r"(?<![\w.])(\d{1,4}(?:\.\d{1,2})?)x\b(?!\s?[-+=*/^)])"),
            lambda found: f"{cardinal(found[1])} times",
        ),
        (re.compile(rf"(?<![\w.,])({AMOUNT})(k|M|bn)\b"), _scaled),
        (re.compile(r"(?<=\d) ?\* ?(?=\d)"), lambda found: " times "),
        (re.compile(r"(?<=\d) - (?=\d)"), lambda found: " minus "),
        (re.compile(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])"), lambda found: " "),
        (re.compile(r"\d{19,}"), _serial),
        (re.compile(rf"(?<!\d){AMOUNT}"), _number),
    )
