"""`/v1/responses` on a tiny random model: whole, streamed and continued."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from tests.support import responding
from tests.support.responding import (
    ARGUMENTS,
    BEGUN,
    CREATED,
    DELTA,
    DONE,
    PATH,
    SAID,
    SUNNY,
    TOOL,
    body,
    create,
    fetch,
    free,
    items,
    said,
    shown,
    stream,
)
from tests.support.server import ADMIN_KEY, Server
from tests.support.talking import refused

FREE: dict[str, Any] = {"ignore_eos": True, "seed": 7}


class Weather(BaseModel):
    sunny: bool


def test_the_sdk_creates_fetches_and_deletes(sdk: openai.OpenAI) -> None:
    made = sdk.responses.create(
        model="llama", input="Hi", max_output_tokens=16, metadata={"who": "me"}, extra_body=FREE
    )
    assert (made.object, made.model, made.metadata) == ("response", "llama", {"who": "me"})
    assert made.output_text
    assert made.usage is not None
    assert made.usage.output_tokens == 16
    assert made.usage.total_tokens == made.usage.input_tokens + 16
    again = sdk.responses.retrieve(made.id)
    assert again == made
    sdk.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(made.id)


def test_an_answer_that_the_limit_cuts_is_incomplete(chat: httpx.Client) -> None:
    answer = chat.post(PATH, json=free()).json()
    assert answer["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["output"][0]["status"] == "incomplete"
    assert (answer["max_output_tokens"], answer["error"]) == (16, None)


def test_the_answer_is_what_the_chat_route_gives(chat: httpx.Client) -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    given = {"model": "llama", "seed": 3, "ignore_eos": True, "deterministic": True}
    chatted = chat.post(
        "/v1/chat/completions", json={**given, "messages": messages, "max_tokens": 16}
    ).json()
    answer = chat.post(PATH, json=free(**given, instructions="Be kind.")).json()
    assert said(answer) == chatted["choices"][0]["message"]["content"]
    assert answer["usage"]["input_tokens"] == chatted["usage"]["prompt_tokens"]


def test_the_events_of_a_stream_are_numbered_and_add_up(chat: httpx.Client) -> None:
    events = stream(chat, free(deterministic=True))
    names = [event.name for event in events]
    deltas = names.count(DELTA)
    expected = [*CREATED, *BEGUN, *[DELTA] * deltas, *DONE, "response.incomplete"]
    assert names == expected == [event.data["type"] for event in events]
    assert [event.data["sequence_number"] for event in events] == list(range(len(events)))
    text = "".join(event.data["delta"] for event in events if event.name == DELTA)
    whole = chat.post(PATH, json=free(deterministic=True)).json()
    last = events[-1].data["response"]
    assert text == said(last) == said(whole)
    assert last["usage"] == whole["usage"] | {
        "input_tokens_details": last["usage"]["input_tokens_details"]
    }
    assert fetch(chat, last["id"]) == last


def test_the_streams_of_the_sdk(sdk: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "llama", "input": "Hi", "text": {"format": SUNNY}}
    events = list(sdk.responses.create(**options, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    with sdk.responses.stream(**options) as helper:
        snapshots = [event.snapshot for event in helper if event.type == DELTA]
        final = helper.get_final_response()
    assert snapshots[-1] == final.output_text == events[-1].response.output_text == SAID


def test_a_conversation_of_three_turns(chat: httpx.Client) -> None:
    first = create(chat, input="One", instructions="Be kind.")
    second = create(chat, input="Two", previous_response_id=first["id"])
    third = create(chat, input="Three", previous_response_id=second["id"])
    assert [turn["status"] for turn in (first, second, third)] == ["completed"] * 3
    assert third["previous_response_id"] == second["id"]
    assert shown(items(chat, third["id"], order="asc")) == [
        ("user", "One"),
        ("assistant", SAID),
        ("user", "Two"),
        ("assistant", SAID),
        ("user", "Three"),
    ]
    # What the model was shown is the same as all of it sent at once.
    turns = [(role, text) for role, text in shown(items(chat, third["id"], order="asc"))]
    sent = [{"role": role, "content": text} for role, text in turns]
    assert create(chat, input=sent)["usage"]["input_tokens"] == third["usage"]["input_tokens"]


def test_instructions_are_not_carried_over(chat: httpx.Client) -> None:
    first = create(chat, input="One", instructions="Be kind. " * 20)
    plain = create(chat, input="One")
    after = [
        create(chat, input="Two", previous_response_id=one["id"])["usage"]["input_tokens"]
        for one in (first, plain)
    ]
    assert after[0] == after[1]
    assert first["usage"]["input_tokens"] > plain["usage"]["input_tokens"]


def test_input_items_come_in_pages(chat: httpx.Client, sdk: openai.OpenAI) -> None:
    sent = [{"role": "user", "content": str(number)} for number in range(5)]
    made = create(chat, input=sent)
    first = items(chat, made["id"], limit=2)
    assert [text for _, text in shown(first)] == ["4", "3"]
    assert first["has_more"]
    second = items(chat, made["id"], limit=2, after=first["last_id"])
    assert [text for _, text in shown(second)] == ["2", "1"]
    last = items(chat, made["id"], limit=2, after=second["last_id"])
    assert ([text for _, text in shown(last)], last["has_more"]) == (["0"], False)
    pages = sdk.responses.input_items.list(made["id"], limit=2, order="asc")
    assert [item.content[0].text for item in pages] == list("01234")  # type: ignore[union-attr]


def test_another_key_sees_nothing(chat: httpx.Client, chat_server: Server) -> None:
    made = create(chat)
    with chat_server.client(ADMIN_KEY) as other:
        for method, rest in (
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/cancel"),
            ("GET", "/input_items"),
        ):
            answer = other.request(method, f"{PATH}/{made['id']}{rest}")
            assert refused(answer) == (404, "response_id", "response_not_found")
        continued = other.post(PATH, json=body(previous_response_id=made["id"]))
        assert continued.status_code == 400
        assert refused(continued)[1:] == ("previous_response_id", "previous_response_not_found")
        reference = {"type": "item_reference", "id": made["output"][0]["id"]}
        answer = other.post(PATH, json=body(input=[reference]))
        assert refused(answer)[:2] == (400, "input.0.id")
    assert fetch(chat, made["id"]) == made


def test_what_is_not_stored_cannot_be_fetched_or_continued(chat: httpx.Client) -> None:
    made = create(chat, store=False)
    assert (made["store"], said(made)) == (False, SAID)
    assert chat.get(f"{PATH}/{made['id']}").status_code == 404
    answer = chat.post(PATH, json=body(previous_response_id=made["id"]))
    assert refused(answer)[:2] == (400, "previous_response_id")


def test_what_continues_a_deleted_response_has_no_beginning(chat: httpx.Client) -> None:
    first = create(chat)
    second = create(chat, previous_response_id=first["id"])
    assert chat.delete(f"{PATH}/{first['id']}").json() == {
        "id": first["id"],
        "object": "response",
        "deleted": True,
    }
    answer = chat.post(PATH, json=body(previous_response_id=second["id"]))
    assert refused(answer)[:2] == (400, "previous_response_id")


def test_a_call_and_its_output(chat: httpx.Client) -> None:
    calling = create(chat, text=None, tools=[TOOL], tool_choice="required", input="Weather?")
    call = calling["output"][0]
    assert (call["type"], call["name"], call["status"]) == ("function_call", "weather", "completed")
    assert json.loads(call["arguments"]) == ARGUMENTS
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "Sunny"}
    again = create(chat, input=[output], previous_response_id=calling["id"])
    assert (again["status"], said(again)) == ("completed", SAID)
    listed = items(chat, again["id"], order="asc")["data"]
    assert [item["type"] for item in listed][:2] == ["message", "function_call"]
    assert (listed[-1]["type"], listed[-1]["output"]) == ("function_call_output", "Sunny")
    alone = chat.post(PATH, json=body(input=[output]))
    assert refused(alone)[:2] == (400, "input.0.call_id")


def test_a_call_is_streamed(chat: httpx.Client) -> None:
    choice = {"type": "function", "name": "weather"}
    events = stream(chat, body(text=None, tools=[TOOL], tool_choice=choice))
    pieces = [e for e in events if e.name == "response.function_call_arguments.delta"]
    done = [e for e in events if e.name == "response.function_call_arguments.done"]
    text = "".join(event.data["delta"] for event in pieces if event.data["output_index"] == 0)
    assert json.loads(text) == json.loads(done[0].data["arguments"]) == ARGUMENTS
    assert events[-1].name == "response.completed"
    assert [event.data["sequence_number"] for event in events] == list(range(len(events)))


def test_a_schema_binds_the_text_and_the_sdk_parses_it(sdk: openai.OpenAI) -> None:
    parsed = sdk.responses.parse(model="llama", input="Hi", text_format=Weather)
    assert isinstance(parsed.output_parsed, Weather)
    assert parsed.status == "completed"
    text = parsed.model_dump(by_alias=True)["text"]["format"]
    assert (text["type"], text["name"]) == ("json_schema", "Weather")


def test_a_conversation_that_is_too_long_is_shortened_only_on_demand(chat: httpx.Client) -> None:
    long = [{"role": "user", "content": "x" * 3000}, {"role": "user", "content": "y" * 3000}]
    short = {"role": "user", "content": "Hi"}
    answer = chat.post(PATH, json=body(input=[*long, short]))
    assert refused(answer) == (400, "input", "context_length_exceeded")
    details = answer.json()["error"]["details"]
    assert details["prompt_tokens"] > details["context_length"] == 4096
    made = create(chat, input=[*long, short], truncation="auto")
    assert (made["status"], made["truncation"]) == ("completed", "auto")
    assert made["usage"]["input_tokens"] < 4096
    # All of it is kept, whatever the model was shown.
    assert len(items(chat, made["id"])["data"]) == 3
    too_long = chat.post(PATH, json=body(input="z" * 5000, truncation="auto"))
    assert refused(too_long) == (400, "input", "context_length_exceeded")


def test_the_tokens_of_an_input_are_those_of_its_answer(
    sdk: openai.OpenAI, chat: httpx.Client
) -> None:
    counted = sdk.responses.input_tokens.count(model="llama", input="Hi", instructions="Be kind.")
    made = create(chat, instructions="Be kind.")
    assert counted.input_tokens == made["usage"]["input_tokens"]


def test_log_probabilities_come_if_they_are_included(chat: httpx.Client) -> None:
    included = create(chat, include=["message.output_text.logprobs"], top_logprobs=2)
    told = included["output"][0]["content"][0]["logprobs"]
    assert "".join(token["token"] for token in told) == SAID
    assert {len(token["top_logprobs"]) for token in told} == {2}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"context_management": []}, "context_management"),
        ({"moderation": {}}, "moderation"),
        ({"n": 2}, "n"),
        ({"chat_template": "x"}, "chat_template"),
        ({"include": ["file_search_call.results"]}, "include.0"),
        ({"background": True, "store": False}, "background"),
        ({"background": True, "stream": True}, "stream"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        (
            {"text": {"format": {**SUNNY, "schema": {"$ref": "file:///etc/passwd"}}}},
            "text.format.schema",
        ),
        ({"input": [{"type": "computer_call"}]}, "input.0.type"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, None),
        ({"input": []}, "input"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"metadata": {"x": "y" * 513}}, "metadata.x"),
        ({"truncation": "yes"}, "truncation"),
        ({"previous_response_id": "resp_nobody"}, "previous_response_id"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options"),
    ],
)
def test_what_is_not_served_is_refused_by_name(
    chat: httpx.Client, fields: dict[str, Any], param: str | None
) -> None:
    status, told, _ = refused(chat.post(PATH, json=responding.body(**fields)))
    assert status == 400
    assert told == param or (param is None and told)
