"""`/v1/embeddings`, as OpenAI's types read it."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import openai
import pytest
from openai.types import CreateEmbeddingResponse

from onebox.api.body_size import QUICK_BYTES
from tests.unit.api.texts import Texts, post, with_sdk

PATH = "/v1/embeddings"
VECTOR = [0.5, -0.25]
USAGE = {"prompt_tokens": 3, "total_tokens": 3}


def result(embedding: Any = VECTOR, items: int = 1) -> Texts:
    data = [{"object": "embedding", "index": i, "embedding": embedding} for i in range(items)]
    return Texts({"data": data, "usage": USAGE})


def asked(roomy, **fields: Any):
    answer, texts = post(roomy, PATH, {"model": "m", **fields}, result())
    assert answer.status == 200, answer.body
    return texts.input


def refused(roomy, body: dict[str, Any] | bytes):
    answer, texts = post(roomy, PATH, body, result())
    assert (answer.status, texts.task) == (400, ""), answer.body
    return answer.error


def test_an_answer(roomy):
    answer, texts = post(roomy, PATH, {"model": "m", "input": "Hello"}, result(items=2))
    assert json.loads(answer.body) == {
        "object": "list",
        "model": "smol",
        "data": [
            {"object": "embedding", "index": 0, "embedding": VECTOR},
            {"object": "embedding", "index": 1, "embedding": VECTOR},
        ],
        "usage": USAGE,
    }
    assert answer.headers["content-type"] == "application/json"
    CreateEmbeddingResponse.model_validate_json(answer.body, strict=True)
    assert (texts.task, texts.model) == ("embeddings", "m")
    given = texts.input
    assert (given.inputs, given.encoding_format) == (["Hello"], "float")
    assert (given.dimensions, given.prompt, given.truncate) == (None, None, False)


@pytest.mark.parametrize(
    ("given", "items"),
    [
        ("x", ["x"]),
        (" ", [" "]),
        ("[1]", ["[1]"]),
        (["x", "y"], ["x", "y"]),
        (["-1", "é\n\u2028🎨"], ["-1", "é\n\u2028🎨"]),
        ([1, 2], [[1, 2]]),
        ([0], [[0]]),
        ([[1, 2], [2**31 - 1]], [[1, 2], [2**31 - 1]]),
        (["x", [3]], ["x", [3]]),
        (["x"] * 2048, ["x"] * 2048),
    ],
    ids=lambda value: str(value)[:20],
)
def test_inputs(roomy, given, items):
    assert asked(roomy, input=given).inputs == items


@pytest.mark.parametrize("indent", [None, 2])
def test_blanks_change_nothing(roomy, indent):
    body = json.dumps({"input": [7, 8], "model": "m"}, indent=indent).encode()
    _, texts = post(roomy, PATH, body, result())
    assert texts.input.inputs == [[7, 8]]


def test_a_large_request_reads_the_same(roomy):
    for given in (["wörd " * 200] * 500, [list(range(1000))] * 100, list(range(100_000))):
        body = json.dumps({"input": given}, ensure_ascii=False)
        assert len(body) > QUICK_BYTES
        _, texts = post(roomy, PATH, body.encode(), result())
        assert texts.input.inputs == ([given] if isinstance(given[0], int) else given)


@pytest.mark.parametrize(
    ("given", "index"),
    [
        (["x", ""], 1),
        (["x", []], 1),
        (["x", 7], 1),
        (["x", None], 1),
        (["x", True], 1),
        (["x", {"a": 1}], 1),
        (["x", [1, -1]], 1),
        (["x", "y", [2**31]], 2),
        ([[1], [1.5]], 1),
        ([[1], ["x"]], 1),
        ([[1], [True]], 1),
        ([None], 0),
        ([[[1]]], 0),
        (["x"] * 2047 + [""], 2047),
    ],
    ids=lambda value: str(value)[-20:],
)
def test_a_bad_item_is_named(roomy, given, index):
    error = refused(roomy, {"input": given})
    assert (error["param"], error["details"]["index"]) == ("input", index)
    assert error["message"].startswith(f"input[{index}] ")


@pytest.mark.parametrize(
    "given",
    ["", [], 7, None, True, {"a": 1}, ["x"] * 2049],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_input(roomy, given):
    assert refused(roomy, {"input": given})["param"] == "input"


@pytest.mark.parametrize(
    ("given", "index"),
    [
        ([-1], 0),
        ([1.5], 0),
        ([2**31], 0),
        ([1, "x"], 1),
        ([7, 8, None], 2),
        ([7, 8, [9]], 2),
        ([1] * 5000 + [True], 5000),
    ],
    ids=lambda value: str(value)[-20:],
)
def test_which_one_is_no_token_id(roomy, given, index):
    error = refused(roomy, {"input": given})
    assert (error["param"], error["details"]["index"]) == ("input", index)
    assert error["message"].startswith(f"input[{index}] must be a token id")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"input": "x"',
        b'{"input": ["x", "y}',
        b'{"input": NaN}',
        b'{"input": "x", "user": "\\ud800"}',
        b'{"input": "x", "user": "\xff"}',
        b'{"input":' + b"[" * 2000 + b"]" * 2000 + b"}",
    ],
    ids=lambda body: body[:30].decode("latin-1"),
)
def test_a_body_that_is_no_json(roomy, body):
    assert refused(roomy, body)["code"] in ("invalid_json", "invalid_value")


@pytest.mark.parametrize(
    "text",
    [b'"\\ud800"', b'"\\ud800 and so on"', b'"\\ud800\\u0041"', b'"\\udc00"', b'"\xff"', b'"\\q"'],
    ids=str,
)
def test_a_text_that_is_no_unicode(roomy, text):
    error = refused(roomy, b'{"input": ["x", ' + text + b"]}")
    assert error["message"].startswith("input[1]") or error["code"] == "invalid_json"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "dimensions": 1.5}, "dimensions"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "x", "prompt": 7}, "prompt"),
        ({"input": "x", "unheard_of": 1}, "unheard_of"),
        ({"input": "x", "timeout_s": -1}, "timeout_s"),
    ],
    ids=str,
)
def test_wrong_fields(roomy, fields, param):
    assert refused(roomy, fields)["param"] == param


def test_a_list_is_no_request(roomy):
    error = refused(roomy, b'["x"]')
    assert (error["code"], error["param"]) == ("invalid_value", None)


def test_fields(roomy):
    found = asked(
        roomy,
        input="x",
        dimensions=16,
        encoding_format="base64",
        prompt="query",
        truncate=True,
        user="me",
    )
    assert (found.dimensions, found.encoding_format) == (16, "base64")
    assert (found.prompt, found.truncate) == ("query", True)
    nulls = dict.fromkeys(("dimensions", "encoding_format", "prompt", "truncate"))
    assert asked(roomy, input="x", **nulls) == asked(roomy, input="x")


def test_options(roomy):
    body = {"input": "x", "priority": "batch", "timeout_s": 9}
    _, texts = post(roomy, PATH, body, result())
    assert (texts.options.priority, texts.options.timeout_s) == ("batch", 9)


def test_the_sdk_asks_for_base64_and_reads_it(roomy):
    async def use(client: openai.AsyncOpenAI) -> list[float]:
        answer = await client.embeddings.create(model="m", input=["Hello"])
        return answer.data[0].embedding

    coded = result(base64.b64encode(struct.pack("<2f", *VECTOR)).decode())
    assert with_sdk(roomy, coded, use) == VECTOR
    assert coded.input.encoding_format == "base64"


def test_the_sdk_reads_floats_and_asks_for_dimensions(roomy):
    async def use(client: openai.AsyncOpenAI) -> list[float]:
        answer = await client.embeddings.create(
            model="m", input="Hello", encoding_format="float", dimensions=2
        )
        return answer.data[0].embedding

    texts = result()
    assert with_sdk(roomy, texts, use) == VECTOR
    assert (texts.input.encoding_format, texts.input.dimensions) == ("float", 2)
