"""`clean`: text as people and language models write it, without what nobody can say."""

# ruff: noqa: RUF001 - typographic signs look like others.

from __future__ import annotations

import html
import re
import unicodedata
from functools import cache

# Signs → what is written for them.
PLAIN = {
    "‘’‚‛ʼʻ´′": "'",
    "“”„‟«»″❝❞": '"',
    "‐‑−﹣－": "-",
    "\t\v\f\x1c\x1d\x1e\x1f\xa0": " ",
    "\r\x85\u2028\u2029": "\n",
    "²": " squared ",
    "³": " cubed ",
}
# Kinds of characters that have no sound: control, format, private, surrogates, not assigned.
SILENT = frozenset({"Cc", "Cf", "Co", "Cs", "Cn"})
# Pictures and their modifiers; a blank takes their place.
PICTURES = frozenset({"So", "Sk", "Me"})
SAID_SYMBOLS = frozenset("°^")
MAX_MARKS = 3

FENCE = re.compile(r"^[ ]{0,3}(?:```|~~~)[^\n]*$", re.MULTILINE)
LINK = re.compile(r"!?\[([^\[\]\n]{1,200})\]\([^()\s]{0,400}\)")
HEADING = re.compile(r"^[ ]{0,3}#{1,6}[ ]+", re.MULTILINE)
RULE = re.compile(r"^[ ]{0,3}(?:[-*_=][ ]?){3,100}$", re.MULTILINE)
EMPHASIS = re.compile(r"`{1,3}|\*{2,3}|(?<![\s\d])\*|\*(?![\s\d])|\b_{1,3}(?=\w)|(?<=\w)_{1,3}\b")
DASH = re.compile(r"[ ]?[–—―][ ]?|[ ]-{1,3}[ ](?!\d)|(?<=\w)--(?=\w)")
NUMBERS_APART = re.compile(r"(?<=\d)[ ]?[–—][ ]?(?=\d)")
FRACTION = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,200}>")
QUOTED = re.compile(r"^[ ]{0,3}(?:>[ ]?){1,9}", re.MULTILINE)
ENTITY = re.compile(r"&(?:[A-Za-z]{2,8}|#\d{1,6}|#x[\da-fA-F]{1,5});")
SMILEY = re.compile(r"(?<!\S)[:;=]-?[)(DPp|](?!\S)")
BLANKS = re.compile(r"[ ]{2,}")
NEW_LINES = re.compile(r"[ ]?\n[ ]?")


def clean(text: str) -> str:
    """The same words with plain quotes and dashes; without markup, pictures and what is hidden.

    New lines stay, as they part paragraphs and list items.
    """
    plain = _without_markup(text.translate(_plain()))
    plain = unicodedata.normalize("NFKC", FRACTION.sub(" ", plain))
    plain = _audible(plain).translate(_plain())
    plain = DASH.sub(", ", NUMBERS_APART.sub("-", plain))
    return NEW_LINES.sub("\n", BLANKS.sub(" ", plain)).strip()


@cache
def _plain() -> dict[int, str]:
    return {ord(sign): plain for signs, plain in PLAIN.items() for sign in signs}


def _without_markup(text: str) -> str:
    """Markdown is how assistants write; its marks are not for the ear."""
    for mark in (FENCE, HEADING, RULE, QUOTED, TAG):
        text = mark.sub("", text)
    text = ENTITY.sub(lambda found: html.unescape(found[0]), text)
    return EMPHASIS.sub("", LINK.sub(r"\1", SMILEY.sub("", text)))


def _audible(text: str) -> str:
    kept: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category == "Mn" else 0
        if character == "\n":
            kept.append(character)
        elif category in SILENT or marks > MAX_MARKS or _is_variation(character):
            continue
        elif category in PICTURES and character not in SAID_SYMBOLS:
            kept.append(" ")
        else:
            kept.append(character)
    return "".join(kept)


def _is_variation(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f"
