"""Many requests at once: each is answered as if it were alone."""

from __future__ import annotations

from typing import Any

import httpx

from tests.support.asking import Background, running_requests, wait_for_state
from tests.support.talking import CHAT, ask, body, content, joined, stream, writing

PLACES = 8
FIXED = {"deterministic": True, "max_tokens": 48}


def words(number: int) -> list[dict[str, str]]:
    """A message of a length of its own."""
    return [{"role": "user", "content": f"number {number} " * (1 + number % 7)}]


def test_a_deterministic_text_is_the_same_among_neighbours(
    chat: httpx.Client, in_background: Background
) -> None:
    alone = content(chat, **FIXED)
    with writing(chat, "noise", n=5, temperature=1.5):
        asked = [
            in_background(content, chat, **FIXED, seed=seed, messages=words(seed))
            for seed in range(4)
        ]
        assert content(chat, **FIXED) == alone
        assert {len(one.result(120)) > 0 for one in asked} == {True}
    fixed_neighbours = ask(chat, **FIXED, n=PLACES, seed=7)["choices"]
    assert fixed_neighbours[0]["message"]["content"] == alone


def test_forty_clients_at_eight_places(chat: httpx.Client, in_background: Background) -> None:
    asked: list[dict[str, Any]] = [
        {**FIXED, "seed": number, "messages": words(number), "max_tokens": 10 + number}
        for number in range(40)
    ]
    alone = [content(chat, **fields) for fields in asked]
    plain = [in_background(content, chat, **fields) for fields in asked[::2]]
    streamed = [in_background(stream, chat, **body(**fields)) for fields in asked[1::2]]
    assert [one.result(120) for one in plain] == alone[::2]
    assert [joined(one.result(120)) for one in streamed] == alone[1::2]


def test_texts_of_all_kinds_of_models_are_written_in_turns(
    chat: httpx.Client, in_background: Background
) -> None:
    asked = [
        {**FIXED, "model": model, "seed": seed}
        for seed in range(3)
        for model in ("llama", "gpt2", "mamba")
    ]
    alone = [content(chat, **fields) for fields in asked]
    together = [in_background(content, chat, **fields) for fields in asked]
    assert [one.result(120) for one in together] == alone


def test_who_came_first_goes_first(chat: httpx.Client, in_background: Background) -> None:
    """A request of many texts is not passed by those that would find a place sooner."""
    with writing(chat, "holder", n=PLACES):
        wide = in_background(chat.post, CHAT, json=body(n=PLACES), headers={"X-Request-ID": "wide"})
        wait_for_state(chat, "wide", "queued")
        narrow = in_background(
            chat.post, CHAT, json=body(max_tokens=4000), headers={"X-Request-ID": "narrow"}
        )
        wait_for_state(chat, "narrow", "queued")
    assert wide.result(120).status_code == 200
    chat.post("/v1/requests/narrow/cancel")
    assert narrow.result(120).status_code == 499
    assert not running_requests(chat)


def test_who_is_more_urgent_gets_the_place_of_a_batch(
    chat: httpx.Client, in_background: Background
) -> None:
    """The text that makes room goes on afterwards, as if nothing had been."""
    fields = {"deterministic": True, "n": PLACES, "max_tokens": 200}
    alone = [c["message"]["content"] for c in ask(chat, **fields)["choices"]]
    patient = in_background(
        chat.post, CHAT, json=body(**fields, priority="batch"), headers={"X-Request-ID": "low"}
    )
    wait_for_state(chat, "low", "running")
    assert content(chat)
    answer = patient.result(120).json()
    assert [choice["message"]["content"] for choice in answer["choices"]] == alone
