"""`/v1/responses`: what is kept, continued, polled, cancelled and deleted, and by whom."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import openai
import pytest

from onebox.api.openai.responses_fields import ResponsesRequest
from onebox.api.openai.responses_turn import MAX_STORED_BYTES, begin_turn
from onebox.core.errors import InvalidInput, OutOfMemory, PayloadTooLarge
from onebox.services.background import Background
from onebox.services.request import Options
from onebox.services.response_store import ResponseStore
from tests.unit.api.asking import USER
from tests.unit.api.texts import chat_result, choice, with_sdk
from tests.unit.api.turns import ANOTHER, CALL, HELLO, PNG, TOOL, Turns, fetch, made, send


def test_a_response_can_be_fetched_again(services):
    told = made(send(services, {"metadata": {"a": "b"}}))
    assert made(fetch(services, "GET", told["id"])) == told


def test_a_conversation_goes_on(services):
    first = made(send(services, {"instructions": "Only for the first."}))
    second = made(send(services, {"input": "And?", "previous_response_id": first["id"]}))
    turns = Turns()
    made(send(services, {"input": "So?", "previous_response_id": second["id"]}, turns))
    assert turns.shown() == [
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "And?"),
        ("assistant", "Hello"),
        ("user", "So?"),
    ]
    assert second["previous_response_id"] == first["id"]


def test_the_output_of_a_call_continues_the_response_that_called(services):
    called = chat_result(choice(content=None, tool_calls=[CALL], finish_reason="tool_calls"))
    first = made(send(services, {"tools": [TOOL]}, Turns(result=called)))
    output = {"type": "function_call_output", "call_id": "call_1", "output": "Rain"}
    turns = Turns()
    made(send(services, {"input": [output], "previous_response_id": first["id"]}, turns))
    assert turns.shown() == [("user", "Hi"), ("assistant", None), ("tool", "Rain")]


def test_items_can_be_referred_to(services):
    first = made(send(services, {}))
    reference = {"type": "item_reference", "id": first["output"][0]["id"]}
    turns = Turns()
    made(send(services, {"input": [reference, {"role": "user", "content": "And?"}]}, turns))
    assert turns.shown() == [("assistant", "Hello"), ("user", "And?")]
    for body, headers in (({"previous_response_id": first["id"]}, USER), ({}, ANOTHER)):
        answer = send(services, {"input": [reference], **body}, headers=headers)
        assert (answer.status, answer.error["param"]) == (400, "input.0.id")


@pytest.mark.parametrize("gone", ["unknown", "deleted", "of another", "not stored"])
def test_what_is_not_there_cannot_be_continued(services, gone):
    first = made(send(services, {"store": gone != "not stored"}))["id"]
    if gone == "deleted":
        made(fetch(services, "DELETE", first))
    wanted = "resp_unknown" if gone == "unknown" else first
    headers = ANOTHER if gone == "of another" else USER
    answer = send(services, {"previous_response_id": wanted}, headers=headers)
    assert answer.status == 400
    assert (answer.error["code"], answer.error["param"]) == (
        "previous_response_not_found",
        "previous_response_id",
    )
    assert answer.error["message"] == f"Previous response with id '{wanted}' not found."


def test_what_failed_cannot_be_continued(services):
    turns = Turns(deltas=HELLO[:1], failure=OutOfMemory("no"))
    failed = send(services, {"stream": True}, turns).body.decode()
    response_id = json.loads(failed.rsplit("data: ", 1)[1])["response"]["id"]
    answer = send(services, {"previous_response_id": response_id})
    assert (answer.status, answer.error["details"]) == (400, {"status": "failed"})


@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")],
)
def test_nobody_sees_the_responses_of_another(services, method, rest):
    told = made(send(services, {}))
    other = fetch(services, method, told["id"] + rest, headers=ANOTHER)
    unknown = fetch(services, method, "resp_unknown" + rest, headers=ANOTHER)
    assert (other.status, other.error["code"]) == (404, "response_not_found")
    assert other.error["message"].replace(told["id"], "resp_unknown") == unknown.error["message"]
    assert made(fetch(services, "GET", told["id"])) == told


def test_a_deleted_response_is_gone(services):
    response_id = made(send(services, {}))["id"]
    deleted = made(fetch(services, "DELETE", response_id))
    assert deleted == {"id": response_id, "object": "response", "deleted": True}
    assert fetch(services, "GET", response_id).status == 404
    assert fetch(services, "DELETE", response_id).status == 404


def test_input_items_hold_the_turns_before_too(services):
    parts = [{"type": "input_image", "image_url": PNG, "detail": "low"}]
    first = made(send(services, {"input": [{"role": "user", "content": parts}]}))
    body = {"input": "And?", "previous_response_id": first["id"], "instructions": "x"}
    second = made(send(services, body))
    items = made(fetch(services, "GET", f"{second['id']}/input_items?order=asc"))["data"]
    assert [item["role"] for item in items] == ["user", "assistant", "user"]
    assert items[0]["content"] == parts
    assert items[1] == first["output"][0]


def test_the_sdk_fetches_pages_and_deletes(services):
    given = [{"role": "user", "content": str(n)} for n in range(5)]

    async def use(client):
        made = await client.responses.create(model="m", input=given)
        again = await client.responses.retrieve(made.id)
        pages = client.responses.input_items.list(made.id, limit=2, order="asc")
        items = [item async for item in pages]
        await client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(made.id)
        return made, again, items

    made, again, items = with_sdk(services, Turns(), use)
    assert again == made
    assert [item.content[0].text for item in items] == ["0", "1", "2", "3", "4"]


def test_the_sdk_polls_a_response_in_the_background(services):
    async def use(client):
        queued = await client.responses.create(model="m", input="Hi", background=True)
        response = queued
        while response.status in ("queued", "in_progress"):
            response = await client.responses.retrieve(queued.id)
        again = await client.responses.cancel(queued.id)
        return queued, response, again

    turns = Turns(deltas=HELLO)
    queued, response, again = with_sdk(services, turns, use)
    assert (queued.status, queued.output, queued.background) == ("queued", [], True)
    assert (response.status, response.output_text) == ("completed", "Hello")
    assert again == response
    assert turns.options.client_id == queued.id


def test_a_response_in_the_background_is_cancelled(services):
    turns = Turns(deltas=HELLO, is_stuck=True)

    async def use(client):
        queued = await client.responses.create(model="m", input="Hi", background=True)
        await turns.entered.wait()
        running = await client.responses.retrieve(queued.id)
        return running, await client.responses.cancel(queued.id)

    running, cancelled = with_sdk(services, turns, use)
    assert (running.status, cancelled.status) == ("in_progress", "cancelled")


def test_a_response_that_is_deleted_while_it_runs_does_not_come_back(services):
    turns = Turns(deltas=HELLO, is_stuck=True)

    async def use(client):
        queued = await client.responses.create(model="m", input="Hi", background=True)
        await turns.entered.wait()
        await client.responses.delete(queued.id)
        return queued.id

    assert fetch(services, "GET", with_sdk(services, turns, use)).status == 404


def test_a_failure_in_the_background_is_told_to_who_polls(services):
    turns = Turns(failures=[OutOfMemory("no memory left")])

    async def use(client):
        queued = await client.responses.create(model="m", input="Hi", background=True)
        response = queued
        while response.status in ("queued", "in_progress"):
            response = await client.responses.retrieve(queued.id)
        return response

    response = with_sdk(services, turns, use)
    assert (response.status, response.error.code) == ("failed", "server_error")
    assert response.error.message == "no memory left"


@pytest.mark.parametrize("how", ["the server stops", "the server was killed"])
def test_what_runs_when_the_server_ends_has_failed(services, how):
    turns = Turns(is_stuck=True)

    async def use(client):
        queued = await client.responses.create(model="m", input="Hi", background=True)
        await turns.entered.wait()
        if how == "the server stops":
            await services.background.close()
        else:
            store = ResponseStore(services.database, ttl_days=1, max_bytes=10**9)
            await asyncio.to_thread(store.recover)
        return await client.responses.retrieve(queued.id)

    response = with_sdk(services, turns, use)
    assert (response.status, response.error.code) == ("failed", "server_error")
    assert "send it again" in response.error.message


def test_only_a_response_in_the_background_is_cancelled(services):
    response_id = made(send(services, {}))["id"]
    answer = fetch(services, "POST", f"{response_id}/cancel")
    assert (answer.status, answer.error["param"]) == (400, "response_id")


def test_an_input_that_is_too_large_to_be_stored_is_refused(services):
    picture = {"type": "input_image", "image_url": "data:," + "x" * MAX_STORED_BYTES}
    given = {"input": [{"role": "user", "content": [picture]}]}
    caller = services.access.authenticator.authenticate(USER["authorization"])
    for store, error in ((True, PayloadTooLarge), (False, InvalidInput)):
        body = ResponsesRequest.model_validate({**given, "store": store})
        with pytest.raises(error) as caught:
            asyncio.run(begin_turn(body, services, caller, Options("1")))
        assert caught.value.param.startswith("input")


def test_a_full_background_is_refused(services):
    full = dataclasses.replace(services, background=Background(limit=0))
    answer = send(full, {"background": True})
    assert (answer.status, answer.error["code"]) == (429, "queue_full")
