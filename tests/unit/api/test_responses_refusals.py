"""`/v1/responses`: what this server does not do is refused by its name."""

from __future__ import annotations

import pytest

from tests.unit.api.asking import USER, ask
from tests.unit.api.texts import app_with
from tests.unit.api.turns import PNG, TOOL, Turns, fetch, made, send


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"context_management": []}, "context_management"),
        ({"moderation": {}}, "moderation"),
        ({"n": 2}, "n"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"include": ["reasoning.encrypted_content"]}, "include.0"),
        ({"background": True, "store": False}, "background"),
        ({"background": True, "stream": True}, "stream"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tools": [{**TOOL, "parameters": {"not": {}}, "strict": True}]}, "tools.0.parameters"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "no"}}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"truncation": "sometimes"}, "truncation"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"temperature": "NaN"}, "temperature"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"input": []}, "input"),
        ({"input": [{"type": "web_search_call"}]}, "input.0.type"),
        ({"input": [{"content": "x"}]}, "input.0.type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": "x", "more": 1}]}, "input.0.more"),
        ({"input": user()}, "input.0.content"),
        ({"input": user({"type": "input_file", "file_id": "f"})}, "input.0.content.0.type"),
        ({"input": user({"type": "input_audio"})}, "input.0.content.0.type"),
        ({"input": user({"type": "output_text", "text": "x"})}, "input.0.content.0.type"),
        ({"input": user({"type": "input_image", "file_id": "f"})}, "input.0.file_id"),
        ({"input": user({"type": "input_image"})}, "input.0.image_url"),
        (
            {"input": user({"type": "input_image", "image_url": "https://x/y.png"})},
            "input.0.content.0.image_url",
        ),
        (
            {"input": user({"type": "input_image", "image_url": PNG + "%"})},
            "input.0.content.0.image_url",
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
            "input.0.call_id",
        ),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0.id"),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "a b", "arguments": ""}]},
            "input.0.name",
        ),
    ],
)
def test_a_request_is_refused_by_the_name_of_what_is_wrong(services, body, param):
    turns = Turns()
    answer = send(services, body, turns)
    assert answer.status == 400, answer.body
    told = answer.error["param"] or ""
    assert told == param or told.startswith(f"{param}."), answer.body
    assert turns.inputs == []


HINTS = {
    "reasoning": {"effort": "low", "summary": "auto"},
    "max_tool_calls": 3,
    "service_tier": "auto",
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"mode": "explicit"},
    "stream_options": {"include_obfuscation": False},
    "stream": True,
}


def test_hints_are_accepted(services):
    assert send(services, HINTS).status == 200


@pytest.mark.parametrize("name", ["instructions", "tools", "metadata", "text", "store", "include"])
def test_null_is_the_same_as_left_out(services, name):
    assert send(services, {name: None}).status == 200


def test_half_a_pair_of_surrogates_is_no_json(services):
    raw = b'{"model": "m", "input": "x", "tools": [{"type": "function", "name": "\\ud800"}]}'
    answer = ask(app_with(services, Turns()), "POST", "/v1/responses", USER, raw)
    assert answer.status == 400


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"input": "x", "tools": [{"type": "function", "name": "f"}]}', "tools"),
        (b'{"input": "x", "conversation": "c"}', "conversation"),
        (b'{"input": "x", "temperature": 1}', "temperature"),
    ],
)
def test_what_cannot_be_counted_is_refused(services, body, param):
    answer = ask(app_with(services, Turns()), "POST", "/v1/responses/input_tokens", USER, body)
    assert (answer.status, answer.error["param"]) == (400, param)


@pytest.mark.parametrize(
    ("query", "param"), [("stream=true", "stream"), ("stream=maybe", "stream")]
)
def test_a_stored_response_is_not_streamed(services, query, param):
    answer = fetch(services, "GET", f"resp_1?{query}")
    assert (answer.status, answer.error["param"]) == (400, param)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "order=up", "after=unknown"])
def test_a_page_that_cannot_be_given_is_refused(services, query):
    response_id = made(send(services, {}))["id"]
    answer = fetch(services, "GET", f"{response_id}/input_items?{query}")
    assert (answer.status, answer.error["param"]) == (400, query.split("=")[0])
