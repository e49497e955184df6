"""`/v1/chat/completions`: whole answers, as OpenAI's types read them."""

from __future__ import annotations

import json

import openai
import pytest
from openai.types.chat import ChatCompletion

from onebox.core.errors import ContextOverflow, QueueFull
from tests.unit.api.texts import HI, TOKEN, TOP, Texts, chat, chat_result, choice, with_sdk

CALL = {"id": "call_1", "name": "weather", "arguments": '{"city":"Ulm"}'}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
OLD_TOOL = {"name": "weather", "parameters": {"type": "object"}}


def test_an_answer(services):
    answer, texts = chat(services, {"model": "m"})
    assert (texts.task, texts.model) == ("chat", "m")
    told = json.loads(answer.body)
    assert answer.headers["content-type"] == "application/json"
    created = told.pop("created")
    assert isinstance(created, int)
    assert told == {
        "id": "chatcmpl-abc123",
        "object": "chat.completion",
        "model": "smol",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
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
    ChatCompletion.model_validate_json(answer.body, strict=True)


def test_the_sdk_reads_calls_logprobs_and_thoughts(services):
    result = chat_result(
        choice(0, content=None, tool_calls=[CALL], finish_reason="tool_calls"),
        choice(1, logprobs=[TOKEN], finish_reason="length", reasoning="Hm"),
    )

    async def use(client: openai.AsyncOpenAI) -> ChatCompletion:
        return await client.chat.completions.create(
            model="m", messages=HI, tools=[TOOL], n=2, logprobs=True, top_logprobs=2
        )

    first, second = with_sdk(services, Texts(result), use).choices
    (call,) = first.message.tool_calls
    assert (call.id, call.type, call.function.name) == ("call_1", "function", "weather")
    assert (first.message.content, first.finish_reason) == (None, "tool_calls")
    (token,) = second.logprobs.content
    assert (token.token, token.bytes, token.logprob) == tuple(TOP.values())
    # JSON has no word for a probability of nothing.
    assert [one.logprob for one in token.top_logprobs] == [-0.25, -9999.0]
    assert second.message.reasoning_content == "Hm"
    assert second.finish_reason == "length"


def test_functions_are_answered_in_their_old_form(services):
    result = chat_result(choice(content=None, tool_calls=[CALL], finish_reason="tool_calls"))
    answer, texts = chat(services, {"functions": [OLD_TOOL]}, Texts(result))
    (told,) = ChatCompletion.model_validate_json(answer.body, strict=True).choices
    assert told.finish_reason == "function_call"
    assert told.message.function_call.arguments == '{"city":"Ulm"}'
    assert told.message.tool_calls is None
    assert texts.input.parallel_tool_calls is False


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
    ],
)
def test_the_new_name_of_the_limit_wins(services, given, limit):
    assert chat(services, given)[1].input.max_tokens == limit


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, None),
        ({"logprobs": False}, None),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 20}, 20),
    ],
)
def test_logprobs_are_asked_for_only_when_wanted(services, given, asked):
    assert chat(services, given)[1].input.top_logprobs == asked


def test_every_way_to_choose_tokens_reaches_the_task(services):
    given = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "frequency_penalty": -2.0,
        "presence_penalty": 2.0,
        "repetition_penalty": 1.1,
        "logit_bias": {"50256": -100.0},
        "seed": -(2**63),
        "stop": ["\n", "END"],
        "n": 3,
        "ignore_eos": True,
        "deterministic": True,
    }
    texts = chat(services, given)[1]
    taken = texts.input.model_dump(include=set(given))
    assert taken == {**given, "logit_bias": {50256: -100.0}}


def test_what_is_null_is_left_to_the_task(services):
    names = ("temperature", "top_p", "frequency_penalty", "logit_bias", "seed", "stop", "n", "user")
    answer, texts = chat(services, dict.fromkeys(names))
    assert answer.status == 200
    assert texts.input.model_fields_set.isdisjoint(names)
    assert (texts.input.n, texts.input.stop, texts.input.temperature) == (1, [], None)


def test_one_stop_is_a_list_of_one(services):
    assert chat(services, {"stop": "\n"})[1].input.stop == ["\n"]


def test_options_are_no_part_of_the_input(services):
    texts = chat(services, {"timeout_s": 2.5, "priority": "batch"})[1]
    assert (texts.options.timeout_s, texts.options.priority) == (2.5, "batch")


def test_an_error_has_the_status_and_code_of_openai(services):
    failure = ContextOverflow("9000 + 100 of 8192", param="messages", details={"max_tokens": 100})
    answer, _ = chat(services, {}, Texts(failure=failure))
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert (answer.error["param"], answer.error["details"]) == ("messages", {"max_tokens": 100})


def test_the_sdk_is_told_when_to_come_back(services):
    async def use(client: openai.AsyncOpenAI) -> str:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="m", messages=HI)
        return caught.value.response.headers["retry-after"]

    assert with_sdk(services, Texts(failure=QueueFull("full", retry_after_s=3)), use) == "3"
