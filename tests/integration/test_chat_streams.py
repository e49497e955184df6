"""Streams of `/v1/chat/completions`: what the chunks add up to, and in which order they come."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import openai
import pytest

from tests.support.server import Server
from tests.support.talking import ASCII_ONLY, CHAT, HELLO, ask, body, content, joined, stream


def streamed(chat: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    return stream(chat, **body(**fields))


@pytest.mark.parametrize("seed", range(8))
def test_the_pieces_add_up_to_the_text_whatever_its_bytes_are(
    chat: httpx.Client, seed: int
) -> None:
    """Random bytes are broken UTF-8: what is cut in a character's middle would show twice."""
    fields = {"seed": seed, "max_tokens": 100, "deterministic": True}
    whole = content(chat, **fields)
    assert "\ufffd" in whole
    assert joined(streamed(chat, **fields)) == whole


def test_a_character_of_many_bytes_comes_in_one_piece(chat: httpx.Client) -> None:
    """The model is left the bytes of one letter, and the first one of them is what it likes best
    after the last one.
    """
    first, last = "é".encode()
    bias = {str(token): -100 for token in range(320) if token not in (first, last)}
    fields = {"logit_bias": bias, "max_tokens": 200, "deterministic": True}
    whole = content(chat, **fields)
    assert "é" in whole
    pieces = [
        choice["delta"]["content"]
        for chunk in streamed(chat, **fields)
        for choice in chunk["choices"]
        if choice["delta"].get("content")
    ]
    assert "".join(pieces) == whole
    assert Counter("".join(pieces))["é"] == whole.count("é")


def test_the_first_chunk_has_the_role_and_the_last_one_the_reason(sdk: openai.OpenAI) -> None:
    chunks = list(
        sdk.chat.completions.create(
            model="llama",
            messages=HELLO,
            max_tokens=5,
            stream=True,
            extra_body={"ignore_eos": True},
        )
    )
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert choices[0].delta.role == "assistant"
    assert not any(choice.delta.role for choice in choices[1:])
    assert [choice.finish_reason for choice in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1].finish_reason == "length"
    assert chunks[-1].system_fingerprint
    assert all(chunk.usage is None for chunk in chunks)


def test_the_usage_comes_last_if_it_is_asked_for(chat: httpx.Client) -> None:
    chunks = streamed(chat, stream_options={"include_usage": True})
    *others, last = chunks
    assert last["choices"] == []
    expected = ask(chat)["usage"]
    assert last["usage"]["completion_tokens"] == expected["completion_tokens"] == 16
    assert last["usage"]["prompt_tokens"] == expected["prompt_tokens"]
    assert all(chunk["usage"] is None for chunk in others)
    assert all("usage" not in chunk for chunk in streamed(chat))


def test_choices_are_told_apart_by_their_index(chat: httpx.Client) -> None:
    fields = {"n": 3, "deterministic": True}
    chunks = streamed(chat, **fields)
    texts = [choice["message"]["content"] for choice in ask(chat, **fields)["choices"]]
    assert [joined(chunks, index) for index in range(3)] == texts
    ends = [
        choice["index"]
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["finish_reason"] is not None
    ]
    assert sorted(ends) == [0, 1, 2]
    roles = [c["index"] for chunk in chunks for c in chunk["choices"] if "role" in c["delta"]]
    assert sorted(roles) == [0, 1, 2]


def test_log_probabilities_come_with_their_pieces(chat: httpx.Client) -> None:
    fields = {"logprobs": True, "top_logprobs": 2, "max_tokens": 60, "deterministic": True}
    whole = ask(chat, **fields)["choices"][0]["logprobs"]["content"]
    pieces: list[dict[str, Any]] = []
    for chunk in streamed(chat, **fields):
        for choice in chunk["choices"]:
            pieces += (choice["logprobs"] or {"content": []})["content"]
    assert pieces == whole


def test_nothing_of_a_stop_string_is_sent(chat: httpx.Client) -> None:
    whole = content(chat, logit_bias=ASCII_ONLY)
    chunks = streamed(chat, logit_bias=ASCII_ONLY, stop=whole[8:12])
    assert joined(chunks) == whole[:8]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_an_empty_text_has_a_beginning_and_an_end(chat: httpx.Client) -> None:
    chunks = streamed(chat, logit_bias={"258": 100}, ignore_eos=False)
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "stop"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert joined(chunks) == ""


def test_a_comment_comes_before_anything_else(chat: httpx.Client) -> None:
    with chat.stream("POST", CHAT, json=body(stream=True)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert next(answer.iter_lines()) == ": ping"


def test_many_async_streams_at_once(chat_server: Server, chat: httpx.Client) -> None:
    seeds = range(12)

    async def one(client: openai.AsyncOpenAI, seed: int) -> str:
        stream = await client.chat.completions.create(
            model="llama",
            messages=HELLO,
            max_tokens=40,
            seed=seed,
            stream=True,
            extra_body={"deterministic": True, "ignore_eos": True},
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_of_them() -> list[str]:
        async with chat_server.async_sdk() as client:
            return await asyncio.gather(*[one(client, seed) for seed in seeds])

    alone = [content(chat, max_tokens=40, seed=seed, deterministic=True) for seed in seeds]
    assert asyncio.run(all_of_them()) == alone


def test_what_is_wrong_with_a_request_has_a_status_also_when_it_streams(
    chat: httpx.Client,
) -> None:
    for wrong, status in (({"temperature": 3}, 400), ({"model": "nobody"}, 404)):
        answer = chat.post(CHAT, json=body(stream=True, **wrong))
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/json"
    too_long = chat.post(CHAT, json=body(stream=True, max_tokens=5000))
    assert too_long.status_code == 400
    assert too_long.json()["error"]["code"] == "context_length_exceeded"
