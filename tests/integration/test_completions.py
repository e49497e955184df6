"""`/v1/completions` through OpenAI's own client."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from openai.types import Completion

from tests.support.talking import ASCII_ONLY, refused, stream

COMPLETIONS = "/v1/completions"
FREE = {"ignore_eos": True, "deterministic": True, "logit_bias": ASCII_ONLY}


def complete(sdk: openai.OpenAI, prompt: Any, **fields: Any) -> Completion:
    return sdk.completions.create(
        **{"model": "llama", "max_tokens": 8, "seed": 7, "extra_body": FREE, **fields},
        prompt=prompt,
    )


def texts(answer: Completion) -> list[str]:
    return [choice.text for choice in answer.choices]


def test_a_prompt_in_all_its_forms(sdk: openai.OpenAI) -> None:
    answer = complete(sdk, "ab")
    assert (answer.object, answer.model) == ("text_completion", "llama")
    (expected,) = texts(answer)
    assert len(expected) == 8
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 8)
    for same in (["ab"], [97, 98], [[97, 98]]):
        assert texts(complete(sdk, same)) == [expected]


def test_sixteen_tokens_are_the_default(sdk: openai.OpenAI) -> None:
    answer = sdk.completions.create(model="llama", prompt="ab", extra_body=FREE)
    assert len(answer.choices[0].text) == 16


def test_choice_j_of_prompt_i_has_the_index_i_times_n_plus_j(sdk: openai.OpenAI) -> None:
    answer = complete(sdk, ["ab", "cd"], n=2, seed=7)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    expected = [
        texts(complete(sdk, prompt, seed=7 + index))[0]
        for index, prompt in enumerate(["ab", "ab", "cd", "cd"])
    ]
    assert texts(answer) == expected
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 32)


def test_echo_puts_the_prompt_in_front(sdk: openai.OpenAI, chat: httpx.Client) -> None:
    (plain,) = texts(complete(sdk, "ab"))
    assert texts(complete(sdk, "ab", echo=True)) == ["ab" + plain]
    assert texts(complete(sdk, [97, 98], echo=True)) == ["ab" + plain]
    assert texts(complete(sdk, "ab", echo=True, max_tokens=0)) == ["ab"]
    body = {"model": "llama", "prompt": "ab", "max_tokens": 8, "seed": 7, "echo": True, **FREE}
    pieces = [c["choices"][0]["text"] for c in stream(chat, COMPLETIONS, **body)]
    assert pieces[0] == "ab"
    assert "".join(pieces) == "ab" + plain


def test_log_probabilities_and_where_their_tokens_lie(sdk: openai.OpenAI) -> None:
    choice = complete(sdk, "ab", logprobs=2, temperature=0).choices[0]
    told = choice.logprobs
    assert told is not None
    assert told.tokens is not None
    assert "".join(told.tokens) == choice.text
    assert told.text_offset == list(range(8))
    assert told.token_logprobs is not None
    assert told.top_logprobs is not None
    for token, logprob, top in zip(
        told.tokens, told.token_logprobs, told.top_logprobs, strict=True
    ):
        assert top[token] == logprob < 0
        assert 2 <= len(top) <= 3
    none = complete(sdk, "ab", logprobs=0).choices[0].logprobs
    assert none is not None
    assert none.top_logprobs is not None
    assert all(len(top) == 1 for top in none.top_logprobs)


def test_a_stream_tells_the_same(sdk: openai.OpenAI) -> None:
    whole = complete(sdk, ["ab", "cd"], n=2)
    pieces = [""] * 4
    ends = []
    chunks = sdk.completions.create(
        model="llama",
        prompt=["ab", "cd"],
        n=2,
        max_tokens=8,
        seed=7,
        stream=True,
        stream_options={"include_usage": True},
        extra_body=FREE,
    )
    *others, last = chunks
    for chunk in others:
        (choice,) = chunk.choices
        pieces[choice.index] += choice.text
        ends += [choice.index] if choice.finish_reason else []
    assert pieces == texts(whole)
    assert sorted(ends) == [0, 1, 2, 3]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 32


def test_a_stop_string_ends_a_text(sdk: openai.OpenAI) -> None:
    (whole,) = texts(complete(sdk, "ab"))
    choice = complete(sdk, "ab", stop=[whole[3:5]]).choices[0]
    assert (choice.text, choice.finish_reason) == (whole[:3], "stop")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [320]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": ["a"] * 100, "n": 2}, "n"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": 1, "echo": True}, "echo"),
        ({"chat_template": "x"}, "chat_template"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    chat: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    answer = chat.post(COMPLETIONS, json={"model": "llama", "prompt": "ab", **fields})
    assert refused(answer)[:2] == (400, param)


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(chat: httpx.Client) -> None:
    answer = chat.post(
        COMPLETIONS, json={"model": "llama", "prompt": ["ab", "x" * 4090], "max_tokens": 7}
    )
    assert refused(answer) == (400, "prompt", "context_length_exceeded")
    assert answer.json()["error"]["details"] == {
        "prompt_tokens": 4090,
        "max_tokens": 7,
        "context_length": 4096,
    }
