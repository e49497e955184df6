"""Whatever an upstream does, the request ends, in an error of ours, and says nothing secret."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from onebox.core.errors import (
    Cancelled,
    ContextOverflow,
    DeadlineExceeded,
    InvalidInput,
    PayloadTooLarge,
    QueueFull,
    UpstreamFailed,
    UpstreamTimeout,
)
from onebox.runtime.wire import Started
from onebox.services.upstreams import connection, sse
from tests.support.stand_in import BREAK, EVENTS, STALL, Reply, events_reply, json_reply
from tests.unit.services.upstreams.asking import KEY, Asker, Told, play

HELLO = [{"role": "user", "content": "Hello"}]
PIECE = {"choices": [{"index": 0, "delta": {"content": "He"}, "finish_reason": None}]}
END = {"choices": [{"index": 0, "delta": {"content": "llo"}, "finish_reason": "stop"}]}
GOOD = events_reply(PIECE, END)
VECTORS = json_reply({"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 1}})


def chat(folder: Any, *replies: Reply, **settings: Any) -> tuple[Told, int]:
    """What came of a chat, and how often it was asked for."""

    async def scene(server: Any, create: Any) -> tuple[Told, int]:
        told = await create(**settings).ask("chat", messages=HELLO)
        return told, len(server.asked)

    found: tuple[Told, int] = play(folder, *replies, scene=scene)
    return found


def said(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, said(f"Incorrect API key provided: {KEY}"), UpstreamFailed, "our credentials"),
        (403, {}, UpstreamFailed, "our credentials"),
        (404, said("no model far"), UpstreamFailed, "does not know the model"),
        (400, said("n is too large", param="n"), InvalidInput, "n is too large"),
        (422, {"detail": "no such field"}, InvalidInput, "no such field"),
        (400, said("too long", code="context_length_exceeded"), ContextOverflow, "too long"),
        (413, {}, PayloadTooLarge, "as large"),
        (418, {}, UpstreamFailed, "418"),
        (302, {}, UpstreamFailed, "302"),
        (408, {}, UpstreamTimeout, "ran out of time"),
        (504, {}, UpstreamTimeout, "ran out of time"),
        (507, {}, UpstreamFailed, "507"),
    ],
)
def test_a_refusal_is_an_error_of_ours_and_not_tried_again(tmp_path, status, body, kind, words):
    told, asked = chat(tmp_path, json_reply(body, status))
    assert type(told.error) is kind
    assert words in told.error.message
    assert asked == 1
    assert KEY not in repr(told)


def test_too_many_requests_say_when_to_come_back(tmp_path):
    told, asked = chat(tmp_path, json_reply({}, 429, **{"Retry-After": "17"}))
    assert isinstance(told.error, QueueFull)
    assert (told.error.retry_after_s, asked) == (17, 1)


def test_what_it_says_is_told_without_secrets_and_bounded(tmp_path):
    async def scene(server: Any, create: Any) -> str:
        server.replies[0] = json_reply(
            said(f"{KEY} at {server.url}/v1 \x00\x1b[31m" + "x" * 999), 400
        )
        told = await create(path="/v1").ask("chat", messages=HELLO)
        assert server.url not in told.error.message
        return told.error.message

    message = play(tmp_path, GOOD, scene=scene)
    assert KEY not in message
    assert message.isprintable()
    assert len(message) < 400


class TestTriedAgain:
    def test_a_failing_server_is_asked_four_times_more_with_growing_waits(self, tmp_path):
        told, asked = chat(tmp_path, json_reply({}, 500))
        assert isinstance(told.error, UpstreamFailed)
        assert (told.waits, asked) == ([1, 2, 4, 8], 5)

    @pytest.mark.parametrize("bad", [json_reply({}, 503), Reply(200, [BREAK])])
    def test_until_it_answers(self, tmp_path, bad):
        told, asked = chat(tmp_path, bad, bad, GOOD)
        assert told.value["choices"][0]["content"] == "Hello"
        assert (told.waits, asked) == ([1, 2], 3)

    def test_as_often_as_is_set(self, tmp_path):
        assert chat(tmp_path, json_reply({}, 500), retries=1)[1] == 2

    def test_a_server_that_is_not_there_is_looked_for_again(self, tmp_path):
        async def scene(server: Any, create: Any) -> Told:
            asker = create()
            server._server.close()
            await server._server.wait_closed()
            found: Told = await asker.ask("chat", messages=HELLO)
            return found

        told = play(tmp_path, GOOD, scene=scene)
        assert isinstance(told.error, UpstreamFailed)
        assert told.waits == [1, 2, 4, 8]

    def test_not_after_the_first_byte(self, tmp_path):
        told, asked = chat(tmp_path, events_reply(PIECE, BREAK))
        assert isinstance(told.error, UpstreamFailed)
        assert (told.deltas, told.waits, asked) == ([{"index": 0, "content": "He"}], [], 1)

    def test_a_server_that_keeps_failing_is_left_alone(self, tmp_path):
        async def scene(server: Any, create: Any) -> Told:
            asker = create(retries=0)
            for _ in range(5):
                await asker.ask("chat", messages=HELLO)
            told: Told = await asker.ask("chat", messages=HELLO)
            assert len(server.asked) == 5
            return told

        told = play(tmp_path, json_reply({}, 500), scene=scene)
        assert isinstance(told.error, UpstreamFailed)
        assert told.error.retry_after_s == 10


class TestNoEnd:
    def test_a_first_byte_that_does_not_come(self, tmp_path):
        told, asked = chat(tmp_path, Reply(200, [STALL]), read_timeout=0.05)
        assert isinstance(told.error, UpstreamTimeout)
        assert asked == 1

    def test_a_stream_that_stalls(self, tmp_path):
        told, asked = chat(tmp_path, events_reply(PIECE, STALL), read_timeout=1.0)
        assert isinstance(told.error, UpstreamTimeout)
        assert (len(told.deltas), asked) == (1, 1)

    def test_the_requests_own_time_is_over(self, tmp_path):
        async def scene(server: Any, create: Any) -> Told:
            found: Told = await create().ask("chat", messages=HELLO, timeout_s=0.05)
            return found

        told = play(tmp_path, Reply(200, [STALL]), scene=scene)
        assert isinstance(told.error, DeadlineExceeded)

    @pytest.mark.parametrize("only_end", [True, False])
    def test_a_client_that_leaves_closes_the_connection_there(self, tmp_path, only_end):
        async def scene(server: Any, create: Any) -> None:
            asker = create()
            frame = asker.frame("chat", messages=HELLO)
            async with asker.client.submit(frame, only_end=only_end):
                await server.arrived.wait()
            await server.left.wait()

        play(tmp_path, events_reply(PIECE, STALL), scene=scene)

    def test_a_cancel_ends_it(self, tmp_path):
        async def scene(server: Any, create: Any) -> None:
            asker = create()
            frame = asker.frame("chat", messages=HELLO)
            async with asker.client.submit(frame, only_end=True) as exchange:
                await server.arrived.wait()
                asker.client.cancel(frame.id)
                end = await anext(exchange)
            assert isinstance(end.to_error(), Cancelled)
            await server.left.wait()

        play(tmp_path, events_reply(PIECE, STALL), scene=scene)

    def test_an_answer_without_end(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sse, "MAX_STREAM_BYTES", 1000)
        told, _ = chat(tmp_path, Reply(200, [b": ping\n\n"] * 1000, EVENTS))
        assert isinstance(told.error, UpstreamFailed)

    def test_an_answer_that_is_too_large(self, tmp_path, monkeypatch):
        monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 1000)

        async def scene(server: Any, create: Any) -> Told:
            found: Told = await create().ask("embeddings", inputs=["a"])
            return found

        told = play(tmp_path, Reply(200, [b" " * 600, b" " * 600]), scene=scene)
        assert isinstance(told.error, UpstreamFailed)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, [b"<html>"], "text/html"),
        Reply(200, [b"data: {no\n\n"], EVENTS),
        Reply(200, [b"data: 5\n\n"], EVENTS),
        events_reply({"choices": 5}),
        events_reply({"choices": [{"index": 0, "delta": {"content": 5}, "finish_reason": "stop"}]}),
        events_reply({"choices": [{"delta": {"tool_calls": [5]}}]}),
        events_reply(PIECE),
        events_reply(PIECE, said("the cat ate it")),
        Reply(200, [b"x"], EVENTS, {"Content-Encoding": "gzip"}),
    ],
    ids=[
        "a page", "no JSON", "a number", "no list", "no text", "no call", "cut off", "an error",
        "compressed",
    ],
)  # fmt: skip
def test_an_answer_that_nobody_can_use_is_its_failure(tmp_path, reply):
    told, asked = chat(tmp_path, reply)
    assert isinstance(told.error, UpstreamFailed)
    assert asked == 1


def test_vectors_for_fewer_texts_are_its_failure(tmp_path):
    async def scene(server: Any, create: Any) -> Told:
        found: Told = await create().ask("embeddings", inputs=["a", "b"])
        return found

    assert isinstance(play(tmp_path, VECTORS, scene=scene).error, UpstreamFailed)


def test_requests_beyond_its_bound_wait_and_go_in_turns(tmp_path):
    async def one(asker: Asker, name: str, caller: str, done: list[str], **more: Any) -> None:
        await asker.ask("chat", messages=HELLO, caller=caller, **more)
        done.append(name)

    async def scene(server: Any, create: Any) -> list[str]:
        asker = create(max_concurrent=1)
        done: list[str] = []
        tasks = []
        for name, caller, priority in (
            ("first", "a", "interactive"),
            ("job", "a", "job"),
            ("second", "a", "interactive"),
            ("third", "a", "interactive"),
            ("other", "b", "interactive"),
        ):
            tasks.append(asyncio.ensure_future(one(asker, name, caller, done, priority=priority)))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return done

    order = play(tmp_path, GOOD, scene=scene)
    assert order == ["first", "second", "other", "third", "job"]


def test_who_leaves_while_waiting_takes_nobodys_turn(tmp_path):
    async def scene(server: Any, create: Any) -> None:
        asker = create(max_concurrent=1)
        held = asker.frame("chat", messages=HELLO)
        async with asker.client.submit(held):
            await server.arrived.wait()
            async with asker.client.submit(asker.frame("chat", messages=HELLO)):
                pass
        server.replies.append(GOOD)
        server.replies.popleft()
        told = await asker.ask("chat", messages=HELLO)
        assert isinstance(told.events[0], Started)
        assert told.value["choices"][0]["content"] == "Hello"
        assert asker.ends == ["cancelled", "cancelled", "ok"]

    play(tmp_path, events_reply(PIECE, STALL), scene=scene)


def test_nothing_of_the_key_is_in_what_can_be_printed(tmp_path):
    async def scene(server: Any, create: Any) -> None:
        asker = create()
        await asker.ask("chat", messages=HELLO)
        shown = [repr(asker.client), repr(asker.client._connection), repr(asker.upstream)]
        assert KEY not in "".join(shown)

    play(tmp_path, GOOD, scene=scene)


def test_one_that_is_cancelled_before_it_began_ends_too(tmp_path):
    async def scene(server: Any, create: Any) -> None:
        asker = create()
        frame = asker.frame("chat", messages=HELLO)
        async with asker.client.submit(frame, only_end=True) as exchange:
            asker.client.cancel(frame.id)
            end = await anext(exchange)
        assert isinstance(end.to_error(), Cancelled)
        assert server.asked == []

    play(tmp_path, GOOD, scene=scene)
