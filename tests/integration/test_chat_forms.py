"""Answers of a given form: JSON, JSON of a schema, and calls of tools, by a model of noise."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema
import openai
import pytest

from tests.support.talking import CHAT, HELLO, ask, body, refused, stream

ADDRESS = {
    "type": "object",
    "properties": {
        "street": {"type": "string", "maxLength": 12},
        "number": {"type": "integer", "minimum": 1, "maximum": 99},
        "kind": {"enum": ["house", "flat", None]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["street", "number", "kind", "tags"],
    "additionalProperties": False,
}
SWITCH = {
    "type": "object",
    "properties": {"on": {"type": "boolean"}},
    "required": ["on"],
    "additionalProperties": False,
}


def form(schema: dict[str, Any]) -> dict[str, Any]:
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"type": "json_schema", "json_schema": named}


def tool(name: str, schema: dict[str, Any] = SWITCH, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema, **more}}


# Sixteen calls are the most; each takes some sixty tokens.
ALL_CALLS = 1500
TOOLS = [tool("light"), tool("fan")]


def calls_of(answer: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    calls = choice["message"]["tool_calls"]
    assert len({call["id"] for call in calls}) == len(calls)
    return [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls]


def test_an_answer_of_a_schema_is_valid_unless_it_was_cut(chat: httpx.Client) -> None:
    whole = 0
    for seed in range(12):
        (choice,) = ask(chat, response_format=form(ADDRESS), max_tokens=300, seed=seed)["choices"]
        if choice["finish_reason"] == "length":
            continue
        jsonschema.validate(json.loads(choice["message"]["content"]), ADDRESS)
        whole += 1
    assert whole >= 8


def test_an_answer_cut_short_says_so(chat: httpx.Client) -> None:
    (choice,) = ask(chat, response_format=form(ADDRESS), max_tokens=5)["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"].startswith("{")


def test_any_json_object(chat: httpx.Client) -> None:
    """A model of noise may never close its strings; what likes to end them helps."""
    bias = {str(ord(letter)): 8 for letter in '"}'}
    (choice,) = ask(chat, response_format={"type": "json_object"}, max_tokens=200, logit_bias=bias)[
        "choices"
    ]
    assert choice["finish_reason"] == "stop"
    assert isinstance(json.loads(choice["message"]["content"]), dict)


def test_a_stream_of_a_schema_adds_up_to_the_same(sdk: openai.OpenAI, chat: httpx.Client) -> None:
    fields = {"response_format": form(ADDRESS), "max_tokens": 300, "deterministic": True}
    whole = ask(chat, **fields)["choices"][0]["message"]["content"]
    chunks = stream(chat, **body(**fields))
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks) == whole


@pytest.mark.parametrize("streaming", [False, True])
def test_an_unsupported_keyword_is_named_and_harms_nobody(
    chat: httpx.Client, streaming: bool
) -> None:
    schema = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}
    for wrong, param in (
        ({"response_format": form(schema)}, "response_format.json_schema.schema"),
        ({"tools": [tool("f", schema, strict=True)]}, "tools.0.function.parameters"),
    ):
        answer = chat.post(CHAT, json=body(stream=streaming, **wrong))
        assert refused(answer)[:2] == (400, param)
        assert answer.json()["error"]["details"] == {"keyword": "not", "pointer": "/properties/a"}
        assert "'not'" in answer.json()["error"]["message"]
        assert ask(chat, response_format=form(SWITCH), max_tokens=100)["choices"]


def test_a_required_call_is_one_of_the_tools_with_arguments_of_its_schema(
    chat: httpx.Client,
) -> None:
    names = set()
    for seed in range(6):
        answer = ask(chat, tools=TOOLS, tool_choice="required", max_tokens=ALL_CALLS, seed=seed)
        for name, arguments in calls_of(answer):
            jsonschema.validate(arguments, SWITCH)
            names.add(name)
    assert names == {"light", "fan"}


def test_the_tool_that_is_named_is_called(chat: httpx.Client) -> None:
    named = {"type": "function", "function": {"name": "fan"}}
    for seed in range(3):
        answer = ask(chat, tools=TOOLS, tool_choice=named, max_tokens=ALL_CALLS, seed=seed)
        assert {name for name, _ in calls_of(answer)} == {"fan"}


def test_parallel_calls_only_where_they_are_allowed(chat: httpx.Client) -> None:
    required = {"tools": TOOLS, "tool_choice": "required", "max_tokens": ALL_CALLS}
    counts = [len(calls_of(ask(chat, **required, seed=seed))) for seed in range(8)]
    assert max(counts) > 1
    for seed in range(8):
        answer = ask(chat, **required, seed=seed, parallel_tool_calls=False)
        assert len(calls_of(answer)) == 1


def test_tools_that_may_be_called_leave_a_text_a_text(chat: httpx.Client) -> None:
    for choice in ("auto", "none"):
        (answer,) = ask(chat, tools=TOOLS, tool_choice=choice)["choices"]
        assert answer["finish_reason"] == "length"
        assert answer["message"]["content"]
        assert "tool_calls" not in answer["message"]


def test_calls_are_streamed_piece_by_piece(sdk: openai.OpenAI, chat: httpx.Client) -> None:
    fields = {"tools": TOOLS, "tool_choice": "required", "max_tokens": ALL_CALLS}
    own = {"deterministic": True, "ignore_eos": True}
    whole = calls_of(ask(chat, **fields, deterministic=True))
    calls: list[list[str]] = []
    pieces = 0
    reason = None
    for chunk in sdk.chat.completions.create(
        model="llama", messages=HELLO, seed=7, stream=True, **fields, extra_body=own
    ):
        for choice in chunk.choices:
            reason = choice.finish_reason or reason
            for delta in choice.delta.tool_calls or []:
                assert delta.function is not None
                if delta.id:
                    assert delta.index == len(calls)
                    calls.append([delta.function.name or "", ""])
                calls[delta.index][1] += delta.function.arguments or ""
                pieces += 1
    assert [(name, json.loads(arguments)) for name, arguments in calls] == whole
    assert pieces > 2 * len(calls)
    assert reason == "tool_calls"


def test_the_old_form_of_tools(chat: httpx.Client) -> None:
    old = {"functions": [TOOLS[0]["function"]], "function_call": {"name": "light"}}
    (choice,) = ask(chat, **old, max_tokens=ALL_CALLS)["choices"]
    assert choice["finish_reason"] == "function_call"
    call = choice["message"]["function_call"]
    assert call["name"] == "light"
    jsonschema.validate(json.loads(call["arguments"]), SWITCH)


def test_a_form_and_tools_together_are_refused(chat: httpx.Client) -> None:
    answer = chat.post(CHAT, json=body(tools=TOOLS, response_format=form(SWITCH)))
    assert refused(answer)[:2] == (400, "response_format")
