from __future__ import annotations

import pytest

from onebox.core.errors import InvalidInput
from onebox.core.memory_amounts import GIB, MIB, parse_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8GiB", 8 * GIB),
        ("8gib", 8 * GIB),
        (" 8 G ", 8 * GIB),
        ("8GB", 8 * 10**9),
        ("1.5GiB", GIB * 3 // 2),
        ("512MiB", 512 * MIB),
        ("1TiB", 1024 * GIB),
        ("2097152", 2 * MIB),
        ("2097152B", 2 * MIB),
    ],
)
def test_bytes(text, expected):
    amount = parse_bytes(text)
    assert (amount, type(amount)) == (expected, int)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.8", 0.8), (".5", 0.5), ("80%", 0.8), ("1", 1.0), ("1.0", 1.0), ("100 %", 1.0)],
)
def test_shares(text, expected):
    amount = parse_bytes(text)
    assert (amount, type(amount)) == (expected, float)


@pytest.mark.parametrize(
    "text",
    [
        *("", "lots", "8XB", "-1GiB", "8GiB 8GiB", "٨GiB", "1e9", "nan", "inf"),
        *("0", "0.0", "0%", "101%"),
        *("8", "8.5", "8KiB", "0GiB"),
    ],
)
def test_what_is_no_amount_is_refused_with_the_way_to_write_it(text):
    with pytest.raises(InvalidInput, match="8GiB"):
        parse_bytes(text)
