"""`/v1/responses`: whole answers, as OpenAI's types read them."""

from __future__ import annotations

import json

import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from onebox.core.errors import ContextOverflow, QueueFull
from tests.unit.api.texts import TOKEN, USAGE, chat_result, choice, with_sdk
from tests.unit.api.turns import CALL, PNG, TOOL, Turns, made, send


def test_an_answer(services):
    turns = Turns()
    told = made(send(services, {"instructions": "Be kind.", "temperature": 0.5}, turns))
    assert turns.shown() == [("system", "Be kind."), ("user", "Hi")]
    assert (turns.task, turns.model, turns.input.temperature) == ("chat", "m", 0.5)
    (message,) = told["output"]
    assert message.pop("id").startswith("msg_")
    assert message == {
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
    }
    assert told["id"].startswith("resp_")
    assert {name: told[name] for name in ("object", "status", "model", "error", "tools")} == {
        "object": "response",
        "status": "completed",
        "model": "smol",
        "error": None,
        "tools": [],
    }
    assert told["usage"] == {
        "input_tokens": USAGE["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 12,
    }
    assert (told["temperature"], told["seed"], told["system_fingerprint"]) == (0.5, 7, "fp_abc")


def test_the_answer_is_what_the_sdk_expects(services):
    body = {"metadata": {"a": "b"}, "tools": [TOOL], "text": {"verbosity": "low"}}
    answer = send(services, body)
    response = Response.model_validate_json(answer.body)
    assert response.output_text == "Hello"
    assert response.metadata == {"a": "b"}
    assert response.tools[0].name == "weather"
    assert response.text.verbosity == "low"


def test_the_sdk_reads_calls_thoughts_and_logprobs(services):
    result = chat_result(
        choice(0, reasoning="Hm", tool_calls=[CALL], logprobs=[TOKEN], finish_reason="tool_calls")
    )

    async def use(client):
        return await client.responses.create(
            model="m",
            input="Hi",
            tools=[TOOL],
            include=["message.output_text.logprobs"],
            top_logprobs=2,
        )

    turns = Turns(result=result)
    response = with_sdk(services, turns, use)
    assert turns.input.top_logprobs == 2
    thought, message, call = response.output
    assert (thought.type, thought.content[0].text) == ("reasoning", "Hm")
    assert message.content[0].logprobs[0].top_logprobs[0].token == "Hel"
    assert (call.call_id, call.name, call.arguments) == ("call_1", "weather", '{"city":"Ulm"}')
    assert call.id.startswith("fc_")


def test_parse_gives_an_object(services):
    class City(BaseModel):
        name: str

    async def use(client):
        return await client.responses.parse(model="m", input="Hi", text_format=City)

    turns = Turns(result=chat_result(choice(content='{"name":"Ulm"}')))
    response = with_sdk(services, turns, use)
    assert response.output_parsed == City(name="Ulm")
    wanted = turns.input.response_format
    assert (wanted.type, wanted.json_schema["required"]) == ("json_schema", ["name"])


def test_an_answer_that_was_cut_is_incomplete(services):
    told = made(send(services, {}, Turns(result=chat_result(choice(finish_reason="length")))))
    assert (told["status"], told["output"][0]["status"]) == ("incomplete", "incomplete")
    assert told["incomplete_details"] == {"reason": "max_output_tokens"}


def test_an_empty_answer_is_an_empty_message(services):
    told = made(send(services, {}, Turns(result=chat_result(choice(content=None)))))
    assert [part["text"] for part in told["output"][0]["content"]] == [""]


def test_items_become_messages(services):
    items = [
        {"role": "developer", "content": "Short."},
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "message", "role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "[]"},
        {"type": "function_call_output", "call_id": "c2", "output": "Rain"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "x"}]},
    ]
    turns = Turns()
    made(send(services, {"input": items}, turns))
    assert turns.shown() == [
        ("system", "Short."),
        ("user", "Weather?"),
        ("assistant", "I look."),
        ("tool", "Rain"),
    ]
    messages = turns.inputs[0].messages
    assert [(call.id, call.arguments) for call in messages[2].tool_calls] == [
        ("c1", "{}"),
        ("c2", "[]"),
    ]
    assert (messages[3].tool_call_id, messages[3].name) == ("c2", "weather")


def test_pictures_are_numbered(services):
    parts = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": PNG}]
    turns = Turns()
    made(send(services, {"input": [{"role": "user", "content": parts}]}, turns))
    (message,) = turns.inputs[0].messages
    assert [part.type for part in message.content] == ["text", "image"]
    assert turns.inputs[0].images[0].media_type == "image/png"


def test_what_the_sdk_answered_can_be_sent_back(services):
    result = chat_result(choice(tool_calls=[CALL], reasoning="Hm", finish_reason="tool_calls"))
    turns = Turns(result=result)

    async def use(client):
        first = await client.responses.create(model="m", input="Hi", tools=[TOOL])
        output = {"type": "function_call_output", "call_id": "call_1", "output": "Rain"}
        given = [{"role": "user", "content": "Hi"}, *first.output, output]
        return await client.responses.create(model="m", input=given, store=False)

    with_sdk(services, turns, use)
    assert [role for role, _ in turns.shown()] == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", ("required", None)),
        ("none", ("none", None)),
        ({"type": "function", "name": "weather"}, ("required", ["weather"])),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "weather"}],
            },
            ("auto", ["weather"]),
        ),
    ],
)
def test_tool_choices(services, choice, expected):
    turns = Turns()
    body = {"tools": [TOOL], "tool_choice": choice, "parallel_tool_calls": False}
    told = made(send(services, body, turns))
    assert (turns.input.tool_choice, turns.input.allowed_tools) == expected
    assert told["tool_choice"] == choice
    assert (told["parallel_tool_calls"], turns.input.parallel_tool_calls) == (False, False)


def test_our_own_fields_reach_the_model(services):
    turns = Turns()
    own = {"seed": 3, "top_k": 5, "stop": "x", "deterministic": True, "max_output_tokens": 9}
    made(send(services, own, turns))
    given = turns.input
    assert (given.seed, given.top_k, given.stop, given.deterministic, given.max_tokens) == (
        *(3, 5, ["x"], True, 9),
    )


def overflow(prompt=100, limit=60):
    details = {"prompt_tokens": prompt, "max_tokens": None, "context_length": limit}
    return ContextOverflow("too long", param="messages", details=details)


TURNS = [
    {"role": "system", "content": "Keep me"},
    *({"role": role, "content": f"{role} {n}"} for n in range(4) for role in ("user", "assistant")),
    {"role": "user", "content": "Last"},
]


@pytest.mark.parametrize("stream", [False, True])
def test_the_oldest_items_give_way_when_that_is_asked_for(services, stream):
    turns = Turns(failures=[overflow(), overflow(70, 60)])
    body = {"input": TURNS, "truncation": "auto", "stream": stream}
    assert send(services, body, turns).status == 200
    lengths = [len(given.messages) for given in turns.inputs]
    assert lengths[0] == len(TURNS) > lengths[1] > lengths[2]
    shown = turns.shown()
    assert (shown[0], shown[-1]) == (("system", "Keep me"), ("user", "Last"))
    assert shown[1:-1] == [(t["role"], t["content"]) for t in TURNS[1:-1]][-(len(shown) - 2) :]


@pytest.mark.parametrize("truncation", ["auto", "disabled", None])
def test_one_item_that_is_too_long_is_refused(services, truncation):
    answer = send(services, {"truncation": truncation}, Turns(failures=[overflow()]))
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert (answer.error["param"], answer.error["details"]["prompt_tokens"]) == ("input", 100)


def test_an_output_goes_with_its_call(services):
    items = [
        {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "x" * 500},
        {"role": "user", "content": "short"},
        {"type": "function_call_output", "call_id": "c", "output": "Rain"},
        {"role": "user", "content": "Last"},
    ]
    turns = Turns(failures=[overflow(100, 99)])
    made(send(services, {"input": items, "truncation": "auto"}, turns))
    assert turns.shown() == [("user", "short"), ("user", "Last")]


def test_what_goes_wrong_has_its_own_status(services):
    answer = send(services, {}, Turns(failures=[QueueFull("full", retry_after_s=2)]))
    assert (answer.status, answer.headers["retry-after"]) == (429, "2")


def test_counting_the_tokens_of_an_input(services):
    turns = Turns(result={"tokens": [1, 2], "count": 2, "max_model_len": 9})

    async def use(client):
        return await client.responses.input_tokens.count(
            model="m", input="Hi", instructions="Short."
        )

    counted = with_sdk(services, turns, use)
    assert (counted.input_tokens, counted.object) == (2, "response.input_tokens")
    assert turns.task == "tokenize"
    assert turns.shown() == [("system", "Short."), ("user", "Hi")]


def test_the_body_is_checked_before_anything_is_prepared(services):
    turns = Turns()
    answer = send(services, {"temperature": 3}, turns)
    assert (answer.status, answer.error["param"]) == (400, "temperature")
    assert json.loads(answer.body)["error"]["type"] == "invalid_request_error"
    assert turns.inputs == []
