"""Bodies of few bytes and many values."""

from __future__ import annotations

import json

import pytest
from starlette.exceptions import HTTPException

from onebox.api.body_size import MAX_NODES, MAX_VALUES, QUICK_BYTES, refuse_crowded

# Takes a body past the bytes that are not looked at.
FILLER = b'"' + b"x" * QUICK_BYTES + b'"'


def around(inner: bytes) -> bytes:
    return b'{"a":' + FILLER + b',"b":' + inner + b"}"


@pytest.mark.parametrize(
    "inner",
    [
        b"[" + b"{}," * (MAX_NODES + 1) + b"0]",
        b"[" + b"[]," * (MAX_NODES + 1) + b"0]",
        b"[" + b"0," * (MAX_VALUES + 1) + b"0]",
        b"[" + b'"",' * (MAX_VALUES + 1) + b'""]',
        b"{" + b",".join(b'"%d":1' % number for number in range(MAX_NODES + 1)) + b"}",
        b"[" * (MAX_NODES + 1),
    ],
    ids=["objects", "lists", "numbers", "texts", "fields", "depth"],
)
def test_a_crowded_body_is_refused_before_it_is_parsed(inner):
    with pytest.raises(HTTPException, match="more than 131072 objects") as caught:
        refuse_crowded(around(inner))
    assert caught.value.status_code == 413


@pytest.mark.parametrize(
    "text",
    [
        "{[:," * MAX_VALUES,
        'she said "{[:,", and \\ ' * (MAX_VALUES // 8),
        "\\" * 600_001 + '"' * 600_001 + "{" * 600_001,
        "",
    ],
    ids=["marks", "quotes", "backslashes", "empty"],
)
def test_what_stands_in_a_text_is_no_crowd(text):
    refuse_crowded(around(json.dumps(text).encode()))
    refuse_crowded(around(json.dumps({"role": "user", "content": text}).encode()))


@pytest.mark.parametrize(
    "body",
    [
        b'"' * 3_000_000,
        b'{"a":"' + b'\\"' * 1_500_000,
        b"\\" * 3_000_001,
        b'{"a":"' + b"x" * 3_000_000,
        b"\xff" * 3_000_000,
    ],
)
def test_what_is_no_json_comes_to_an_end_too(body):
    refuse_crowded(body)


def test_as_many_as_may_be_are_taken():
    refuse_crowded(around(b"[" + b"{}," * (MAX_NODES - 10) + b"0]"))
    refuse_crowded(around(b"[" + b"0," * (MAX_VALUES - 10) + b"0]"))
