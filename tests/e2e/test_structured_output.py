"""Answers in the form that was asked for, from a small model with real weights."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any, Literal

import jsonschema
import openai
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, Field

from tests.e2e.conftest import CHAT_MODEL
from tests.support.random_schemas import RandomSchemas

SCHEMAS = 200
AT_A_TIME = 16
MAX_TOKENS = 256
MOST_CUT = 0.1

Schema = dict[str, Any]


class Animal(BaseModel):
    name: str = Field(max_length=20)
    kind: Literal["cat", "dog", "bird"]
    legs: int = Field(ge=0, le=8)


class Weather(BaseModel):
    """The weather of a city."""

    city: str = Field(max_length=30)
    unit: Literal["celsius", "fahrenheit"]


class Clock(BaseModel):
    """The time in a zone."""

    zone: Literal["utc", "local"]


TOOLS = [openai.pydantic_function_tool(Weather), openai.pydantic_function_tool(Clock)]
ANIMAL = [{"role": "user", "content": "Describe a dog called Rex."}]
WEATHER = [{"role": "user", "content": "What is the weather in Oslo?"}]
TWO_CITIES = [
    {"role": "user", "content": "Call Weather for Oslo and call Weather for Rome."},
]
COMMON: dict[str, Any] = {"model": CHAT_MODEL, "max_tokens": 200, "temperature": 0}


def test_two_hundred_random_schemas_are_kept_to(async_sdk: openai.AsyncOpenAI) -> None:
    random_schemas = RandomSchemas(2026)
    schemas = [random_schemas.next() for _ in range(SCHEMAS)]
    answers = asyncio.run(_answers(async_sdk, schemas))
    cut = 0
    for schema, answer in zip(schemas, answers, strict=True):
        (choice,) = answer.choices
        if choice.finish_reason == "length":
            cut += 1
            continue
        value = json.loads(choice.message.content or "")
        jsonschema.Draft202012Validator(schema).validate(value)
    assert cut < MOST_CUT * SCHEMAS, f"{cut} of {SCHEMAS} answers were cut"


async def _answers(sdk: openai.AsyncOpenAI, schemas: list[Schema]) -> list[ChatCompletion]:
    """One answer to each, so many at a time."""
    places = asyncio.Semaphore(AT_A_TIME)

    async def answer(seed: int, schema: Schema) -> ChatCompletion:
        async with places:
            return await sdk.chat.completions.create(
                model=CHAT_MODEL,
                messages=[{"role": "user", "content": "Answer with a short JSON object."}],
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": schema, "strict": True},
                },
                max_tokens=MAX_TOKENS,
                temperature=1,
                seed=seed,
            )

    async with sdk:
        return await asyncio.gather(*(answer(i, schema) for i, schema in enumerate(schemas)))


def test_json_object_is_one(chat_sdk: openai.OpenAI) -> None:
    answer = chat_sdk.chat.completions.create(
        messages=[{"role": "user", "content": "Give a JSON object with the key city."}],
        response_format={"type": "json_object"},
        **COMMON,
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert isinstance(json.loads(choice.message.content or ""), dict)


def test_parse_gives_the_model_that_was_asked_for(chat_sdk: openai.OpenAI) -> None:
    answer = chat_sdk.chat.completions.parse(messages=ANIMAL, response_format=Animal, **COMMON)
    animal = answer.choices[0].message.parsed
    assert isinstance(animal, Animal)
    assert (animal.name, animal.kind) == ("Rex", "dog")


def test_an_unsupported_keyword_is_refused_by_name(chat_sdk: openai.OpenAI) -> None:
    schema = {"type": "object", "patternProperties": {"^a": {"type": "string"}}}
    with pytest.raises(openai.BadRequestError, match="patternProperties") as caught:
        chat_sdk.chat.completions.create(
            messages=ANIMAL,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            },
            **COMMON,
        )
    assert (caught.value.param or "").startswith("response_format")


def test_a_required_tool_is_called_with_arguments_that_fit(chat_sdk: openai.OpenAI) -> None:
    answer = chat_sdk.chat.completions.parse(
        messages=WEATHER,
        tools=TOOLS,
        tool_choice="required",
        parallel_tool_calls=False,
        **COMMON,
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert call.id
    assert isinstance(call.function.parsed_arguments, Weather | Clock)


def test_a_named_tool_is_called_once(chat_sdk: openai.OpenAI) -> None:
    answer = chat_sdk.chat.completions.parse(
        messages=WEATHER,
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "Clock"}},
        **COMMON,
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Clock)


def test_calls_may_come_together(chat_sdk: openai.OpenAI) -> None:
    answer = chat_sdk.chat.completions.parse(
        messages=TWO_CITIES, tools=TOOLS, tool_choice="required", **COMMON
    )
    calls = answer.choices[0].message.tool_calls or []
    assert len(calls) > 1
    assert len({call.id for call in calls}) == len(calls)
    assert all(isinstance(each.function.parsed_arguments, Weather | Clock) for each in calls)


def test_auto_may_write_a_text(chat_sdk: openai.OpenAI) -> None:
    answer = chat_sdk.chat.completions.create(
        messages=[{"role": "user", "content": "Say hello."}], tools=TOOLS, **COMMON
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert choice.message.content
    assert not choice.message.tool_calls


def test_auto_calls_a_tool_as_it_was_called_before(chat_sdk: openai.OpenAI) -> None:
    # With fewer examples so small a model is not sure what to write.
    before = [_call_and_answer(city) for city in ("Oslo", "Bergen", "Berlin", "Vienna")]
    messages = [*itertools.chain(*before), _asked_about("Rome")]
    answer = chat_sdk.chat.completions.parse(messages=messages, tools=TOOLS, **COMMON)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert call.function.parsed_arguments == Weather(city="Rome", unit="celsius")


def test_the_sdk_assembles_streamed_calls(chat_sdk: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"messages": TWO_CITIES, "tools": TOOLS, "tool_choice": "required"}
    whole = chat_sdk.chat.completions.parse(**asked, **COMMON).choices[0].message.tool_calls
    deltas = []
    with chat_sdk.chat.completions.stream(**asked, **COMMON) as events:
        for event in events:
            if event.type == "tool_calls.function.arguments.delta":
                deltas.append(event.arguments_delta)
        (choice,) = events.get_final_completion().choices
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls
    assert calls
    assert whole
    assert [call.function for call in calls] == [call.function for call in whole]
    assert "".join(deltas) == "".join(call.function.arguments for call in calls)
    assert len(deltas) > len(calls)


def test_a_tool_answer_is_read(chat_sdk: openai.OpenAI) -> None:
    *messages, _ = _call_and_answer("Oslo")
    answer = chat_sdk.chat.completions.create(messages=messages, **COMMON)
    assert "7" in (answer.choices[0].message.content or "")


def _asked_about(city: str) -> dict[str, Any]:
    return {"role": "user", "content": f"What is the weather in {city}?"}


def _call_and_answer(city: str) -> list[Any]:
    """A question, the call that it led to, what the tool gave, and what was made of it."""
    arguments = json.dumps({"city": city, "unit": "celsius"})
    call = {"name": "Weather", "arguments": arguments}
    calls = [{"id": f"call_{city}", "type": "function", "function": call}]
    return [
        _asked_about(city),
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": f"call_{city}", "content": "-7 degrees, snow"},
        {"role": "assistant", "content": f"In {city} it snows, at -7 degrees."},
    ]
