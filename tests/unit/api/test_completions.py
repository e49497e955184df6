"""`/v1/completions`, as OpenAI's types read it."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types import Completion

from tests.unit.api.texts import TOKEN, Texts, completion_result, events, post, with_sdk

PATH = "/v1/completions"
LOGPROBS = {
    "text_offset": [5],
    "token_logprobs": [-0.25],
    "tokens": ["Hel"],
    "top_logprobs": [{"Hel": -0.25, "Yo": -9999.0}],
}
DELTAS = [
    {"index": 1, "text": "b"},
    {"index": 0, "text": "a", "logprobs": [{**TOKEN, "offset": 5}]},
    {"index": 0, "finish_reason": "stop"},
    {"index": 1, "finish_reason": "length"},
]


def asked(services, body: dict[str, Any]):
    answer, texts = post(services, PATH, body)
    assert answer.status == 200, answer.body
    return texts.input


def test_an_answer(services):
    result = completion_result(logprobs=[{**TOKEN, "offset": 5}])
    answer, texts = post(services, PATH, {"model": "m", "prompt": "Hello"}, Texts(result))
    told = json.loads(answer.body)
    assert isinstance(told.pop("created"), int)
    assert told == {
        "id": "cmpl-abc123",
        "object": "text_completion",
        "model": "smol",
        "choices": [
            {"text": " world", "index": 0, "logprobs": LOGPROBS, "finish_reason": "length"}
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 3,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
        "system_fingerprint": "fp_abc",
    }
    Completion.model_validate_json(answer.body, strict=True)
    assert (texts.task, texts.model) == ("completion", "m")
    assert (texts.input.max_tokens, texts.input.echo, texts.input.top_logprobs) == (16, False, None)


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("x", ["x"]),
        ("", [""]),
        (["x", "y"], ["x", "y"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
)
def test_prompts(services, prompt, prompts):
    assert asked(services, {"prompt": prompt}).prompts == prompts


@pytest.mark.parametrize(
    "prompt",
    [None, [], [[]], 7, {"a": 1}, [True], [1, "x"], [-1], [2**31], [1.5], [None], ["x"] * 129],
    ids=str,
)
def test_what_is_no_prompt(services, prompt):
    answer, _ = post(services, PATH, {"prompt": prompt})
    assert (answer.status, answer.error["param"]) == (400, "prompt")


def test_fields(services):
    found = asked(services, {"prompt": "x", "echo": True, "max_tokens": 0, "n": 2, "best_of": 2})
    assert (found.echo, found.max_tokens, found.n) == (True, 0, 2)
    assert asked(services, {"prompt": "x", "logprobs": 0, "suffix": None}).top_logprobs == 0


def test_chunks(services):
    body = {"prompt": ["x", "y"], "stream": True, "stream_options": {"include_usage": True}}
    answer, _ = post(services, PATH, body, Texts(deltas=DELTAS))
    *chunks, done = events(answer)
    assert done == "[DONE]"
    for chunk in chunks:
        assert (chunk["id"], chunk["object"]) == ("cmpl-abc123", "text_completion")
    assert [chunk["choices"] for chunk in chunks] == [
        [{"text": "b", "index": 1, "logprobs": None, "finish_reason": None}],
        [{"text": "a", "index": 0, "logprobs": LOGPROBS, "finish_reason": None}],
        [{"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}],
        [{"text": "", "index": 1, "logprobs": None, "finish_reason": "length"}],
        [],
    ]
    assert [chunk["usage"] and chunk["usage"]["total_tokens"] for chunk in chunks] == [
        *[None] * 4,
        12,
    ]
    assert chunks[-1]["system_fingerprint"] == "fp_abc"


def test_the_sdk_reads_a_stream(services):
    async def use(client: openai.AsyncOpenAI) -> list[Completion]:
        stream = await client.completions.create(model="m", prompt=["x", "y"], stream=True)
        return [chunk async for chunk in stream]

    found = with_sdk(services, Texts(deltas=DELTAS), use)
    assert [chunk.choices[0].text for chunk in found] == ["b", "a", "", ""]
