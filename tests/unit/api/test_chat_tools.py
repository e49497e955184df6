"""OpenAI's tools, their old form, and their choice, as they reach the chat task."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.texts import chat

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool(name: str, **facts: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **facts}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


TOOLS = {"tools": [tool("f", description="does f", parameters=SCHEMA), tool("g")]}
FUNCTIONS = {"functions": [{"name": "f", "parameters": SCHEMA}, {"name": "g"}]}


def taken(services, given: dict[str, Any]):
    answer, texts = chat(services, given)
    assert answer.status == 200, answer.body
    return texts.input


@pytest.mark.parametrize("given", [TOOLS, FUNCTIONS])
def test_tools(services, given):
    found = taken(services, given)
    assert [one.name for one in found.tools] == ["f", "g"]
    assert [one.parameters for one in found.tools] == [SCHEMA, {}]
    assert not any(one.strict for one in found.tools)
    assert (found.tool_choice, found.allowed_tools) == ("auto", None)


def test_a_strict_tool(services):
    given = {"tools": [tool("f", parameters=SCHEMA, strict=True), tool("g", strict=None)]}
    assert [one.strict for one in taken(services, given).tools] == [True, False]


@pytest.mark.parametrize(
    ("given", "choice", "allowed"),
    [
        ({"tool_choice": "none"}, "none", None),
        ({"tool_choice": "auto"}, "auto", None),
        ({"tool_choice": "required"}, "required", None),
        ({"tool_choice": None}, "auto", None),
        ({"tool_choice": named("g")}, "required", ["g"]),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [named("g"), named("f")]},
                }
            },
            "auto",
            ["g", "f"],
        ),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "required", "tools": [named("f")]},
                }
            },
            "required",
            ["f"],
        ),
    ],
)
def test_choices(services, given, choice, allowed):
    found = taken(services, {**TOOLS, **given})
    assert (found.tool_choice, found.allowed_tools) == (choice, allowed)


@pytest.mark.parametrize(
    ("given", "choice", "allowed"),
    [("none", "none", None), ("auto", "auto", None), ({"name": "f"}, "required", ["f"])],
)
def test_choices_in_the_old_form(services, given, choice, allowed):
    found = taken(services, {**FUNCTIONS, "function_call": given})
    assert (found.tool_choice, found.allowed_tools) == (choice, allowed)


@pytest.mark.parametrize(
    ("given", "parallel"),
    [
        ({}, True),
        ({"parallel_tool_calls": False}, False),
        ({"tool_choice": "required"}, True),
        ({"tool_choice": named("f"), "parallel_tool_calls": True}, False),
    ],
)
def test_calls_side_by_side(services, given, parallel):
    assert taken(services, {**TOOLS, **given}).parallel_tool_calls is parallel


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [tool("f"), tool("f")]}, "tools"),
        ({"tools": [tool("f g")]}, "tools.0.function.name"),
        ({"tools": [tool("x" * 65)]}, "tools.0.function.name"),
        ({"tools": [tool("f", unheard_of=1)]}, "tools.0.function.unheard_of"),
        ({"tools": [tool("f", parameters=[])]}, "tools.0.function.parameters"),
        ({**TOOLS, "tool_choice": "sometimes"}, "tool_choice.type"),
        ({**TOOLS, "tool_choice": named("h")}, "tool_choice"),
        ({**TOOLS, "tool_choice": {"type": "function"}}, "tool_choice"),
        ({**TOOLS, "tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "tool_choice"),
        ({**TOOLS, "tool_choice": 7}, "tool_choice"),
        (
            {
                **TOOLS,
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [named("h")]},
                },
            },
            "tool_choice",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": named("f")}, "tool_choice"),
        ({**TOOLS, **FUNCTIONS}, "functions"),
        ({**TOOLS, "function_call": "auto"}, "functions"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({**FUNCTIONS, "function_call": {"name": "h"}}, "function_call"),
    ],
)
def test_what_cannot_be_done_is_named(services, given, param):
    answer, texts = chat(services, given)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert texts.task == ""


def test_a_strict_tool_of_another_subset_names_the_keyword_and_the_tool(services):
    odd = {"type": "object", "properties": {"a": {"$dynamicRef": "#x"}}}
    answer, _ = chat(services, {"tools": [tool("f"), tool("g", parameters=odd, strict=True)]})
    assert (answer.status, answer.error["details"]["keyword"]) == (400, "$dynamicRef")
    assert answer.error["param"].startswith("tools.1.function.parameters")
