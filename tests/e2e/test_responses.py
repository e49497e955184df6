"""The responses routes on real weights, through OpenAI's own client as it is."""

from __future__ import annotations

from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

from tests.e2e.conftest import CHAT_MODEL

PARIS = "Tell me the capital of France in one short sentence."
COMMON: dict[str, Any] = {"model": CHAT_MODEL, "max_output_tokens": 32, "temperature": 0}


class Animal(BaseModel):
    name: str = Field(max_length=20)
    kind: Literal["cat", "dog", "bird"]


def test_it_is_made_found_again_continued_and_deleted(chat_sdk: openai.OpenAI) -> None:
    first = chat_sdk.responses.create(input=PARIS, **COMMON)
    assert first.status == "completed"
    assert "Paris" in first.output_text
    assert chat_sdk.responses.retrieve(first.id).output_text == first.output_text
    second = chat_sdk.responses.create(
        input="And of Italy?", previous_response_id=first.id, **COMMON
    )
    assert "Rome" in second.output_text
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.total_tokens
    chat_sdk.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        chat_sdk.responses.retrieve(first.id)


def test_streamed_it_says_the_same(chat_sdk: openai.OpenAI) -> None:
    whole = chat_sdk.responses.create(input=PARIS, **COMMON)
    kinds, pieces = list[str](), list[str]()
    with chat_sdk.responses.stream(input=PARIS, **COMMON) as events:
        for event in events:
            kinds.append(event.type)
            if event.type == "response.output_text.delta":
                pieces.append(event.delta)
        final = events.get_final_response()
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert len(pieces) > 3
    assert "".join(pieces) == final.output_text == whole.output_text


def test_parse_gives_the_model_that_was_asked_for(chat_sdk: openai.OpenAI) -> None:
    answer = chat_sdk.responses.parse(
        input="Describe a dog called Rex.", text_format=Animal, **COMMON
    )
    assert answer.output_parsed == Animal(name="Rex", kind="dog")
