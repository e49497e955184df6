"""Ids such as `job_01kq5w3m7e8a9v2c4x6y0zt1bn`: a kind, and 26 characters that sort by time."""

from __future__ import annotations

import re
import secrets
import time

# Digits and small letters without i, l, o and u, which are easily taken for others.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
BITS_PER_CHARACTER = 5
# Half of an id is the time in nanoseconds, and half is for nobody to guess.
HALF_CHARACTERS = 13
_ID = re.compile(r"[a-z]{1,16}_[0-9a-hjkmnp-tv-z]{26}")


def new_id(prefix: str, *, place: int = 0) -> str:
    """Ids of later moments sort after it; of one moment, those of later places in a list."""
    random = secrets.randbits(HALF_CHARACTERS * BITS_PER_CHARACTER)
    return f"{prefix}_{_encoded(time.time_ns() + place)}{_encoded(random)}"


def is_id(text: str, prefix: str) -> bool:
    """Whether a text that a client sent can be an id of this kind."""
    return text.startswith(f"{prefix}_") and _ID.fullmatch(text) is not None


def sequence_of(made_id: str) -> str:
    """What ids of all kinds sort by."""
    return made_id.rpartition("_")[2]


def _encoded(number: int) -> str:
    shifts = range((HALF_CHARACTERS - 1) * BITS_PER_CHARACTER, -1, -BITS_PER_CHARACTER)
    return "".join(ALPHABET[number >> shift & 31] for shift in shifts)
