"""`/v1/chat/completions` with `stream`: chunks as OpenAI's types read them."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from onebox.core.errors import InvalidInput, OutOfMemory
from tests.unit.api.asking import Answer
from tests.unit.api.texts import HI, TOKEN, Texts, chat, chat_result, choice, events, with_sdk

STREAM = {"stream": True}
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
HELLO = [
    {"index": 0, "content": "Hel"},
    {"index": 0, "content": 'lo "\n✓'},
    {"index": 0, "finish_reason": "stop"},
]
CALLS = [
    {"index": 0, "tool_calls": [{"index": 0, "id": "c0", "name": "f", "arguments": ""}]},
    {"index": 0, "tool_calls": [{"index": 0, "arguments": '{"a":'}]},
    {"index": 0, "tool_calls": [{"index": 0, "arguments": "1}"}]},
    {"index": 0, "tool_calls": [{"index": 1, "id": "c1", "name": "g", "arguments": ""}]},
    {"index": 0, "finish_reason": "tool_calls"},
]
FUNCTION = {"name": "f", "parameters": {"type": "object"}}


def chunks(answer: Answer) -> list[dict[str, Any]]:
    *found, done = events(answer)
    assert done == "[DONE]"
    for chunk in found:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    return found


def deltas(answer: Answer) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks(answer)]


def test_chunks(services):
    answer, _ = chat(services, STREAM, Texts(deltas=HELLO))
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = chunks(answer)
    begin = {"role": "assistant", "content": "", "refusal": None}
    assert [chunk["choices"][0] for chunk in found] == [
        {"index": 0, "delta": begin, "logprobs": None, "finish_reason": None},
        {"index": 0, "delta": {"content": "Hel"}, "logprobs": None, "finish_reason": None},
        {"index": 0, "delta": {"content": 'lo "\n✓'}, "logprobs": None, "finish_reason": None},
        {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"},
    ]
    for chunk in found:
        assert (chunk["id"], chunk["object"]) == ("chatcmpl-abc123", "chat.completion.chunk")
        assert (chunk["model"], chunk["created"]) == ("smol", found[0]["created"])
        assert "usage" not in chunk
    assert found[-1]["system_fingerprint"] == "fp_abc"


def test_usage_is_a_chunk_of_its_own_and_null_in_all_others(services):
    *others, last = chunks(chat(services, WITH_USAGE, Texts(deltas=HELLO))[0])
    assert [chunk["usage"] for chunk in others] == [None] * 4
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 12)
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}


def test_choices_come_side_by_side(services):
    told = [
        {"index": 1, "content": "b"},
        {"index": 0, "content": "a"},
        {"index": 1, "finish_reason": "length"},
        {"index": 0, "content": "A"},
        {"index": 0, "finish_reason": "stop"},
    ]
    found = chunks(chat(services, {**STREAM, "n": 2}, Texts(deltas=told))[0])
    said = [(c["choices"][0]["index"], c["choices"][0]["delta"]) for c in found]
    begin = {"role": "assistant", "content": "", "refusal": None}
    assert said == [
        (1, begin),
        (1, {"content": "b"}),
        (0, begin),
        (0, {"content": "a"}),
        (1, {}),
        (0, {"content": "A"}),
        (0, {}),
    ]
    reasons = [c["choices"][0]["finish_reason"] for c in found]
    assert reasons == [None, None, None, None, "length", None, "stop"]


def test_calls_come_in_pieces(services):
    told = deltas(chat(services, STREAM, Texts(deltas=CALLS))[0])
    assert told[0] == {"role": "assistant", "content": None, "refusal": None}
    first = {"index": 0, "function": {"name": "f", "arguments": ""}, "id": "c0", "type": "function"}
    assert told[1] == {"tool_calls": [first]}
    assert told[2] == {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}
    assert told[4]["tool_calls"][0]["id"] == "c1"


def test_a_call_in_the_old_form(services):
    body = {**STREAM, "functions": [FUNCTION]}
    answer, _ = chat(services, body, Texts(deltas=[*CALLS[:3], CALLS[4]]))
    assert deltas(answer)[1:] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"a":'}},
        {"function_call": {"arguments": "1}"}},
        {},
    ]
    assert chunks(answer)[-1]["choices"][0]["finish_reason"] == "function_call"


def test_logprobs_and_thoughts(services):
    told = [
        {"index": 0, "reasoning": "Hm"},
        {"index": 0, "content": "Hel", "logprobs": [TOKEN]},
        {"index": 0, "finish_reason": "stop"},
    ]
    _, thought, said, _ = chunks(chat(services, STREAM, Texts(deltas=told))[0])
    assert thought["choices"][0]["delta"] == {"reasoning_content": "Hm"}
    (token,) = said["choices"][0]["logprobs"]["content"]
    assert [top["logprob"] for top in token["top_logprobs"]] == [-0.25, -9999.0]


def test_an_answer_without_a_word(services):
    told = [{"index": 0, "finish_reason": "length"}]
    begin, end = chunks(chat(services, STREAM, Texts(deltas=told))[0])
    assert begin["choices"][0]["delta"]["role"] == "assistant"
    assert end["choices"][0]["finish_reason"] == "length"


def test_an_early_error_has_a_status(services):
    failure = InvalidInput("9000 + 100 of 8192", param="messages")
    answer, _ = chat(services, STREAM, Texts(failure=failure))
    assert (answer.status, answer.error["param"]) == (400, "messages")


def test_the_sdk_raises_a_late_error(services):
    texts = Texts(deltas=HELLO[:1], failure=OutOfMemory("no room left"))

    async def use(client: openai.AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(model="m", messages=HI, stream=True)
        with pytest.raises(openai.APIError, match="no room left"):
            async for _ in stream:
                pass

    with_sdk(services, texts, use)
    last = events(chat(services, STREAM, texts)[0])[-1]
    assert last["error"]["code"] == "insufficient_memory"


@pytest.mark.parametrize("told", [HELLO, CALLS], ids=["text", "calls"])
def test_the_sdk_puts_the_pieces_together(services, told):
    result = chat_result(choice(content=None))

    async def use(client: openai.AsyncOpenAI) -> Any:
        async with client.chat.completions.stream(
            model="m", messages=HI, stream_options={"include_usage": True}
        ) as stream:
            return await stream.get_final_completion()

    whole = with_sdk(services, Texts(result, told), use)
    assert (whole.usage.completion_tokens, whole.system_fingerprint) == (3, "fp_abc")
    message = whole.choices[0].message
    if told is HELLO:
        assert message.content == 'Hello "\n✓'
    else:
        assert [call.function.arguments for call in message.tool_calls] == ['{"a":1}', ""]
        assert [call.id for call in message.tool_calls] == ["c0", "c1"]
