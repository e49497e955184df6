"""`/v1/responses`: the events of a stream, in their order."""

from __future__ import annotations

import asyncio
import json

import pytest

from onebox.core.errors import Cancelled, OutOfMemory, QueueFull
from tests.unit.api.texts import TOKEN, chat_result, choice, with_sdk
from tests.unit.api.turns import CALL, HELLO, TOOL, Turns, fetch, send, typed_events

MESSAGE = [
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]
BEGIN = ["response.created", "response.in_progress"]
CALLED = [
    {"index": 0, "tool_calls": [{"index": 0, "id": "call_1", "name": "weather", "arguments": ""}]},
    {"index": 0, "tool_calls": [{"index": 0, "arguments": '{"city":'}]},
    {"index": 0, "tool_calls": [{"index": 0, "arguments": '"Ulm"}'}]},
]
TWICE = [
    *CALLED,
    {"index": 0, "tool_calls": [{"index": 1, "id": "call_2", "name": "weather", "arguments": ""}]},
    {"index": 0, "tool_calls": [{"index": 1, "arguments": "{}"}]},
    {"index": 0, "finish_reason": "tool_calls"},
]
CALL_EVENTS = [
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
]


def stream(services, turns, **body):
    return typed_events(send(services, {"stream": True, **body}, turns))


def names(events):
    return [event["type"] for event in events]


def test_the_events_of_a_message(services):
    events = stream(services, Turns(deltas=HELLO))
    assert names(events) == [*BEGIN, *MESSAGE, "response.completed"]
    assert [event["sequence_number"] for event in events] == list(range(10))
    assert [event["delta"] for event in events[4:6]] == ["Hel", "lo"]
    assert all(event["logprobs"] == [] for event in events[4:7])
    (item_id,) = {event["item_id"] for event in events[3:8]}
    added, done, last = events[2]["item"], events[8]["item"], events[-1]["response"]
    assert (added["id"], added["status"], added["content"]) == (item_id, "in_progress", [])
    assert (done["status"], done["content"][0]["text"]) == ("completed", "Hello")
    assert last["output"] == [done]
    assert events[0]["response"]["status"] == events[1]["response"]["status"] == "in_progress"
    assert events[0]["response"]["output"] == []
    assert (last["status"], last["usage"]["total_tokens"]) == ("completed", 12)


def test_the_events_of_calls(services):
    result = chat_result(choice(content=None, tool_calls=[CALL], finish_reason="tool_calls"))
    events = stream(services, Turns(result=result, deltas=TWICE), tools=[TOOL])
    second = [CALL_EVENTS[0], CALL_EVENTS[1], *CALL_EVENTS[3:]]
    assert names(events) == [*BEGIN, *CALL_EVENTS, *second, "response.completed"]
    assert (events[5]["arguments"], events[5]["name"]) == ('{"city":"Ulm"}', "weather")
    assert [event["output_index"] for event in events[2:11]] == [0] * 5 + [1] * 4
    output = events[-1]["response"]["output"]
    assert [(item["call_id"], item["arguments"]) for item in output] == [
        ("call_1", '{"city":"Ulm"}'),
        ("call_2", "{}"),
    ]


def test_thoughts_come_before_the_message(services):
    thoughts = [{"index": 0, "reasoning": "Hm"}, {"index": 0, "reasoning": "m"}]
    events = stream(services, Turns(deltas=[*thoughts, *HELLO]))
    assert names(events)[2:9] == [
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    assert names(events)[9:-1] == MESSAGE
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["reasoning", "message"]


def test_log_probabilities_come_with_their_text(services):
    deltas = [{"index": 0, "content": "Hel", "logprobs": [TOKEN]}, HELLO[-1]]
    events = stream(services, Turns(deltas=deltas), top_logprobs=2)
    told = events[4]["logprobs"]
    assert (told[0]["token"], told[0]["top_logprobs"][1]["logprob"]) == ("Hel", -9999.0)
    assert events[5]["logprobs"] == events[6]["part"]["logprobs"] == told


def test_what_was_cut_is_incomplete(services):
    events = stream(
        services, Turns(deltas=HELLO, result=chat_result(choice(finish_reason="length")))
    )
    last = events[-1]
    assert (last["type"], last["response"]["status"]) == ("response.incomplete", "incomplete")
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert events[-2]["item"]["status"] == "incomplete"


def test_what_goes_wrong_before_the_first_event_has_its_status(services):
    answer = send(services, {"stream": True}, Turns(failures=[QueueFull("full", retry_after_s=2)]))
    assert (answer.status, answer.error["code"]) == (429, "queue_full")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OutOfMemory("no memory"), "failed", "server_error"),
        (QueueFull("full"), "failed", "rate_limit_exceeded"),
        (Cancelled("cancelled"), "cancelled", None),
    ],
)
def test_what_goes_wrong_later_is_the_last_event(services, error, status, code):
    events = stream(services, Turns(deltas=HELLO[:1], failure=error))
    assert names(events) == [*BEGIN, *MESSAGE[:3], "response.failed"]
    response = events[-1]["response"]
    assert response["status"] == status
    assert (response["error"] or {}).get("code") == code
    assert response["output"][0]["status"] == "incomplete"
    assert response["output"][0]["content"][0]["text"] == "Hel"
    stored = json.loads(fetch(services, "GET", response["id"]).body)
    assert (stored["status"], stored["output"]) == (status, response["output"])


def test_the_end_is_stored_before_it_is_told(services):
    last = stream(services, Turns(deltas=HELLO))[-1]["response"]
    assert json.loads(fetch(services, "GET", last["id"]).body) == last


def test_nothing_is_stored_that_must_not_be(services):
    last = stream(services, Turns(deltas=HELLO), store=False)[-1]["response"]
    assert fetch(services, "GET", last["id"]).status == 404


def test_a_stream_whose_client_left_is_stored_as_cancelled(services):
    turns = Turns(deltas=HELLO, is_stuck=True)
    (created, _) = typed_events(send(services, {"stream": True}, turns, leaves=turns.entered))
    asyncio.run(services.database.write(lambda _: None))
    stored = json.loads(fetch(services, "GET", created["response"]["id"]).body)
    assert (stored["status"], stored["output"]) == ("cancelled", [])


def test_the_sdk_reads_the_stream(services):
    async def use(client):
        stream = await client.responses.create(model="m", input="Hi", stream=True)
        return [event async for event in stream]

    events = with_sdk(services, Turns(deltas=HELLO), use)
    assert [event.type for event in events] == [*BEGIN, *MESSAGE, "response.completed"]
    assert events[-1].response.output_text == "Hello"


def test_the_sdks_helper_follows_the_stream(services):
    async def use(client):
        async with client.responses.stream(model="m", input="Hi", tools=[TOOL]) as stream:
            texts = [e.snapshot async for e in stream if e.type.endswith("text.delta")]
            return texts, await stream.get_final_response()

    texts, response = with_sdk(services, Turns(deltas=[*HELLO[:2], *TWICE]), use)
    assert texts == ["Hel", "Hello"]
    assert response.output_text == "Hello"
    assert [item.type for item in response.output] == ["message", "function_call", "function_call"]
    assert response.output[1].arguments == '{"city":"Ulm"}'
