"""Texts that nobody would read out, up to 4,096 characters each."""

from __future__ import annotations

HOSTILE = {
    "dots": "." * 4096,
    "digits": "1" * 4096,
    "quotes": "\"'`" * 1365,
    "one word": "a" * 4096,
    "emoji": "😀" * 4096,
    "chinese": "你好世界" * 1024,
    "arabic": "مرحبا " * 682,
    "unseen": "\u200b\u202e\ufeff" * 1365,
    "control": "\x01\x07\x1b" * 1365,
    "nothing": "\0" * 4096,
    "markup": "<speak><break time='9999s'/>hi</speak>" * 107,
    "addresses": "https://a.b/c?d=e&f#g " * 31,
    "powers": "1e308 -1e-308 " * 48,
    "numerals": "MCMXCIX IV " * 62,
    "money": "$1,000,000.99 " * 48,
    "dates": "31/12/1999 2024-02-30 " * 31,
    "times": "25:61:99 12:30 " * 45,
    "fractions": "½1/0 " * 136,
    "phones": "+1 (555) 123-4567 " * 37,
    "versions": "1.2.3." * 113,
    "paths": "C:\\a/b.txt~/../" * 45,
    "code": "x[0]={}; // **y** " * 37,
    "accents": "e" + "\u0301" * 4095,
    "brackets": "[({" * 1365,
    "lone surrogate": "hello \\ud800 there",
    "contractions": "a'" * 2048,
}
