"""Every field of OpenAI's text routes works, is a hint without effect, or is refused by name."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import pytest
from openai.types.chat import completion_create_params as chat_params
from openai.types.completion_create_params import CompletionCreateParamsStreaming
from pydantic import ValidationError

from onebox.api.app import create_app
from onebox.api.openai.chat import ChatRequest
from onebox.api.openai.completions import CompletionRequest
from tests.unit.api.texts import CHAT, HI, post

COMPLETIONS = "/v1/completions"
MINIMAL: dict[str, dict[str, Any]] = {
    CHAT: {"messages": HI},
    COMPLETIONS: {"prompt": "x"},
    "/v1/generate": {"prompt": "x"},
}
HINTS = {
    "user": "u",
    "metadata": {"a": "b"},
    "store": True,
    "service_tier": "flex",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h",
    "prediction": {"type": "content", "content": "x"},
    "verbosity": "low",
    "reasoning_effort": "high",
    "modalities": ["text"],
    "response_format": {"type": "text"},
    "tool_choice": "none",
    "stream_options": None,
}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (CHAT, {"audio": {"format": "wav", "voice": "alloy"}}, "audio"),
    (CHAT, {"modalities": ["text", "audio"]}, "modalities"),
    (CHAT, {"web_search_options": {}}, "web_search_options"),
    (CHAT, {"moderation": {"model": "m"}}, "moderation"),
    (CHAT, {"stream_options": {"include_usage": True}}, "stream_options"),
    (CHAT, {"stream": False, "stream_options": {}}, "stream_options"),
    (CHAT, {"top_logprobs": 3}, "top_logprobs"),
    (CHAT, {"logprobs": False, "top_logprobs": 0}, "top_logprobs"),
    (CHAT, {"chat_template": "{{ x }}"}, "chat_template"),
    (CHAT, {"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    (CHAT, {"response_format": {"type": "grammar"}}, "response_format.type"),
    (
        CHAT,
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
        "response_format.json_schema.schema",
    ),
    (CHAT, {"messages": []}, "messages"),
    (CHAT, {"unheard_of": 1}, "unheard_of"),
    (COMPLETIONS, {"suffix": "end"}, "suffix"),
    (COMPLETIONS, {"best_of": 2}, "best_of"),
    (COMPLETIONS, {"best_of": 4, "n": 2}, "best_of"),
    (COMPLETIONS, {"echo": True, "logprobs": 0}, "echo"),
    (COMPLETIONS, {"stream_options": {"include_usage": True}}, "stream_options"),
    (COMPLETIONS, {"prompt": ["x"] * 9, "n": 15}, "n"),
    (COMPLETIONS, {"unheard_of": 1}, "unheard_of"),
    ("/v1/generate", {"n": 2}, "n"),
]
# field: least, most, whether it is a whole number.
NUMBERS: dict[str, dict[str, tuple[float, float, bool]]] = {
    CHAT: {
        "temperature": (0, 2, False),
        "top_p": (0, 1, False),
        "frequency_penalty": (-2, 2, False),
        "presence_penalty": (-2, 2, False),
        "min_p": (0, 1, False),
        "repetition_penalty": (0.001, 10, False),
        "top_k": (0, 1_000_000, True),
        "n": (1, 16, True),
        "seed": (-(2**63), 2**63 - 1, True),
        "max_tokens": (1, 1_048_576, True),
        "max_completion_tokens": (1, 1_048_576, True),
        "top_logprobs": (0, 20, True),
    },
    COMPLETIONS: {
        "temperature": (0, 2, False),
        "top_p": (0, 1, False),
        "frequency_penalty": (-2, 2, False),
        "presence_penalty": (-2, 2, False),
        "n": (1, 16, True),
        "seed": (-(2**63), 2**63 - 1, True),
        "max_tokens": (0, 1_048_576, True),
        "logprobs": (0, 5, True),
    },
    "/v1/generate": {
        "temperature": (0, 2, False),
        "top_p": (0, 1, False),
        "max_tokens": (1, 16_384, True),
    },
}
CASES = [(path, name, *ends) for path, names in NUMBERS.items() for name, ends in names.items()]


def raw(services, path: str, field: str, value: str):
    """With a value in JSON as it stands, which need not be JSON."""
    given = {**MINIMAL[path], "logprobs": True} if field == "top_logprobs" else MINIMAL[path]
    body = json.dumps(given)[:-1] + f', "{field}": {value}}}'
    return post(services, path, body.encode())[0]


def params(kind: type) -> set[str]:
    return set(get_type_hints(kind, include_extras=True))


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        (chat_params.CompletionCreateParamsStreaming, ChatRequest),
        (CompletionCreateParamsStreaming, CompletionRequest),
    ],
)
def test_every_field_of_the_sdk_is_known(kind, model):
    assert params(kind) <= set(model.model_fields)


@pytest.mark.parametrize(("path", "given", "param"), REFUSED, ids=lambda item: str(item)[:50])
def test_what_is_not_supported_is_refused_by_name(services, path, given, param):
    answer, texts = post(services, path, {**MINIMAL[path], **given})
    assert answer.status == (422 if path == "/v1/generate" else 400)
    assert answer.error["param"] == param
    assert texts.task == ""


@pytest.mark.parametrize("name", HINTS)
def test_a_hint_changes_nothing(services, name):
    plain = post(services, CHAT, MINIMAL[CHAT])[1].input
    answer, texts = post(services, CHAT, {**MINIMAL[CHAT], name: HINTS[name]})
    assert answer.status == 200
    if name != "tool_choice":
        assert texts.input == plain


@pytest.mark.parametrize(("path", "field", "least", "most", "whole"), CASES)
def test_numbers_in_their_bounds_are_taken(services, path, field, least, most, whole):
    for value in (least, most):
        assert raw(services, path, field, json.dumps(value)).status == 200


@pytest.mark.parametrize(("path", "field", "least", "most", "whole"), CASES)
def test_numbers_out_of_bounds_are_refused(services, path, field, least, most, whole):
    wrong = [
        json.dumps(least - 1),
        json.dumps(most + 1),
        "-1e308",
        "1e308",
        "1e999",
        "-1e999",
        "NaN",
        "Infinity",
        "-Infinity",
        "9" * 400,
        '"much"',
        "[]",
        "{}",
    ]
    for value in wrong + (["0.5"] if whole else []):
        answer = raw(services, path, field, value)
        assert answer.status == (422 if path == "/v1/generate" else 400), value
        assert answer.error["param"] in (field, None), value
        if answer.error["param"] is None:
            assert answer.error["code"] == "invalid_json"


@pytest.mark.parametrize(
    "value",
    [
        '{"5": 101}',
        '{"5": -101}',
        '{"5": NaN}',
        '{"-1": 1}',
        '{"word": 1}',
        '{"9999999999": 1}',
        "[]",
    ],
)
def test_wrong_biases(services, value):
    answer = raw(services, CHAT, "logit_bias", value)
    assert answer.status == 400
    assert answer.error["code"] in ("invalid_value", "invalid_json")


@pytest.mark.parametrize(
    "given",
    [
        {"messages": HI * 4097},
        {"logit_bias": {str(n): 1 for n in range(1025)}},
        {"tools": [{"type": "function", "function": {"name": "f"}}] * 129},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 1025}]},
        {"messages": [{"role": "user", "content": "x" * 4_000_001}]},
    ],
    ids=lambda given: next(iter(given)),
)
def test_too_much_of_anything(given):
    with pytest.raises(ValidationError):
        ChatRequest.model_validate({"messages": HI, **given})


@pytest.mark.parametrize("value", [[""], "", [1], 7, ["x"] * 17, ["x" * 501]])
def test_wrong_stops(services, value):
    answer, _ = post(services, CHAT, {**MINIMAL[CHAT], "stop": value})
    assert answer.status == 400
    assert answer.error["param"].split(".")[0] == "stop"


def test_a_schema_of_another_subset_names_the_keyword(services):
    schema = {"type": "object", "properties": {"a": {"$dynamicRef": "#x"}}}
    given = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    answer, _ = post(services, CHAT, {**MINIMAL[CHAT], "response_format": given})
    assert (answer.status, answer.error["details"]["keyword"]) == (400, "$dynamicRef")
    assert answer.error["param"].startswith("response_format.json_schema.schema")


def test_a_schema_reaches_the_task(services):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    given = {
        "type": "json_schema",
        "json_schema": {"name": "n", "description": "d", "schema": schema, "strict": True},
    }
    texts = post(services, CHAT, {**MINIMAL[CHAT], "response_format": given})[1]
    assert texts.input.response_format.model_dump() == {
        "type": "json_schema",
        "json_schema": schema,
    }


def test_the_pages_of_the_api_show_the_fields(services):
    page = create_app(services).openapi()
    for path, names in NUMBERS.items():
        content = page["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        schema = content["schema"]
        if "$ref" in schema:
            schema = page["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        assert set(names) <= set(schema["properties"])
    assert "#/$defs" not in json.dumps(page["paths"][CHAT])
