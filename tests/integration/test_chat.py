"""Answers of `/v1/chat/completions` to one request at a time, through OpenAI's own client."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion

from tests.support.server import Server
from tests.support.talking import ASCII_ONLY, END_OF_TURN, HELLO, ask, content

LETTER_A = 65


def complete(sdk: openai.OpenAI, **fields: Any) -> ChatCompletion:
    return sdk.chat.completions.create(
        **{"model": "llama", "messages": HELLO, "max_tokens": 16, "seed": 7, **fields}
    )


def text(answer: ChatCompletion, index: int = 0) -> str:
    return answer.choices[index].message.content or ""


@pytest.mark.parametrize("model", ["llama", "gpt2", "mamba"])
def test_every_kind_of_model_answers(sdk: openai.OpenAI, model: str) -> None:
    answer = complete(sdk, model=model, extra_body={"ignore_eos": True})
    assert (answer.object, answer.model) == ("chat.completion", model)
    (choice,) = answer.choices
    assert (choice.message.role, choice.finish_reason) == ("assistant", "length")
    assert choice.message.content
    assert answer.system_fingerprint
    usage = answer.usage
    assert usage is not None
    assert usage.completion_tokens == 16
    assert usage.total_tokens == usage.prompt_tokens + 16


def test_the_async_client_gets_the_same(chat_server: Server, sdk: openai.OpenAI) -> None:
    async def ask_async() -> str:
        async with chat_server.async_sdk() as client:
            answer = await client.chat.completions.create(
                model="llama", messages=HELLO, max_tokens=16, seed=7
            )
            return text(answer)

    assert asyncio.run(ask_async()) == text(complete(sdk))


def test_a_seed_gives_its_text_again_and_another_one_another(sdk: openai.OpenAI) -> None:
    texts = [text(complete(sdk, seed=seed)) for seed in (0, 0, 1, -5, -5)]
    assert texts[0] == texts[1]
    assert texts[3] == texts[4]
    assert len(set(texts)) == 3


def test_without_a_seed_two_texts_differ(chat: httpx.Client) -> None:
    assert content(chat, seed=None) != content(chat, seed=None)


def test_choice_number_i_is_that_of_the_seed_plus_i(chat: httpx.Client) -> None:
    answer = ask(chat, n=3, seed=40, deterministic=True)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert texts == [content(chat, seed=40 + i, deterministic=True) for i in range(3)]
    assert len(set(texts)) == 3
    # The prompt was there once for all.
    assert answer["usage"]["completion_tokens"] == 3 * 16
    assert answer["usage"]["prompt_tokens"] == ask(chat)["usage"]["prompt_tokens"]


def test_temperature_zero_is_greedy(chat: httpx.Client) -> None:
    greedy = content(chat, temperature=0)
    assert content(chat, temperature=0, seed=99) == greedy
    assert content(chat, top_k=1) == greedy
    assert content(chat, top_p=0) == greedy


def test_a_stop_string_that_spans_tokens_ends_the_text_before_it(chat: httpx.Client) -> None:
    whole = content(chat, logit_bias=ASCII_ONLY)
    # Every token is one letter.
    stop = whole[6:10]
    assert whole.index(stop) == 6
    (choice,) = ask(chat, logit_bias=ASCII_ONLY, stop=stop)["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (whole[:6], "stop")
    (choice,) = ask(chat, logit_bias=ASCII_ONLY, stop=["never there", whole[3:5]])["choices"]
    assert choice["message"]["content"] == whole[:3]


def test_a_beginning_of_a_stop_string_is_not_lost_at_the_end(chat: httpx.Client) -> None:
    whole = content(chat, logit_bias=ASCII_ONLY)
    cut = ask(chat, logit_bias=ASCII_ONLY, stop=whole[-3:] + "…")["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == (whole, "length")


def test_both_names_of_the_limit(sdk: openai.OpenAI) -> None:
    free = {"extra_body": {"ignore_eos": True}}
    for limits in ({"max_tokens": 5}, {"max_tokens": 9, "max_completion_tokens": 5}):
        answer = complete(sdk, **limits, **free)
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 5
        assert answer.choices[0].finish_reason == "length"


def test_the_end_of_a_turn_ends_the_text_unless_it_is_ignored(chat: httpx.Client) -> None:
    ending = {"logit_bias": {str(END_OF_TURN): 100}}
    (choice,) = ask(chat, **ending, ignore_eos=False)["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "stop")
    answer = ask(chat, **ending, ignore_eos=True)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 16


def test_a_bias_forces_a_token_and_forbids_one(chat: httpx.Client) -> None:
    assert content(chat, logit_bias={str(LETTER_A): 100}) == "A" * 16
    greedy = content(chat, temperature=0, logit_bias=ASCII_ONLY)
    without = {**ASCII_ONLY, str(ord(greedy[0])): -100}
    assert greedy[0] not in content(chat, temperature=0, logit_bias=without)


def test_penalties_keep_a_text_from_saying_the_same(chat: httpx.Client) -> None:
    favourite: dict[str, Any] = {
        "temperature": 0,
        "logit_bias": {**ASCII_ONLY, str(LETTER_A): 1},
        "deterministic": True,
    }
    assert content(chat, **favourite) == "A" * 16
    for penalty in ({"frequency_penalty": 2}, {"presence_penalty": 2}):
        assert len(set(content(chat, **favourite, **penalty))) > 8
    greedy = content(chat, temperature=0, logit_bias=ASCII_ONLY)
    penalised = content(chat, temperature=0, logit_bias=ASCII_ONLY, repetition_penalty=10)
    assert len(set(penalised)) > len(set(greedy))


def test_log_probabilities_tell_every_token_and_its_alternatives(sdk: openai.OpenAI) -> None:
    bias = {"logit_bias": ASCII_ONLY}
    answer = complete(sdk, logprobs=True, top_logprobs=3, temperature=0, extra_body=bias)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert bytes(b for token in logprobs.content for b in token.bytes or ()).decode() == text(
        answer
    )
    for token in logprobs.content:
        likeliest = [one.logprob for one in token.top_logprobs]
        assert len(likeliest) == 3
        assert likeliest == sorted(likeliest, reverse=True)
        assert token.logprob <= likeliest[0] < 0
    plain = complete(sdk, logprobs=True, extra_body=bias).choices[0].logprobs
    assert plain is not None
    assert plain.content is not None
    assert len(plain.content) == 16
    assert not any(token.top_logprobs for token in plain.content)
    assert complete(sdk).choices[0].logprobs is None


def test_a_second_turn_finds_the_first_one_computed(chat: httpx.Client) -> None:
    first = [{"role": "user", "content": "Once upon a time there was a machine. " * 5}]
    answer = ask(chat, messages=first, logit_bias=ASCII_ONLY)
    told = answer["choices"][0]["message"]["content"]
    second = [
        *first,
        {"role": "assistant", "content": told},
        {"role": "user", "content": "Go on."},
    ]
    usage = ask(chat, messages=second)["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert answer["usage"]["prompt_tokens"] * 0.8 < cached < usage["prompt_tokens"]
    # It is the same text as without.
    fixed = {"messages": second, "deterministic": True}
    assert content(chat, **fixed) == content(chat, **fixed)


def test_every_role_and_form_of_a_message(sdk: openai.OpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answer = complete(
        sdk,
        messages=[
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "What"}, {"type": "text", "text": " now?"}],
            },
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "42"},
        ],
    )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > len("Be brief.What now?42")


def test_hints_that_change_nothing_are_accepted(sdk: openai.OpenAI) -> None:
    hints = {"user": "me", "store": False, "metadata": {"a": "b"}, "service_tier": "auto"}
    assert text(complete(sdk, **hints)) == text(complete(sdk))
