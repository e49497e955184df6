"""An upstream that lies about what it took, or does not end: nobody is paid for it, or waits."""

from __future__ import annotations

from typing import Any

import pytest

from onebox.core.errors import UpstreamFailed
from onebox.services.upstreams import text
from tests.support.stand_in import events_reply, json_reply
from tests.unit.services.upstreams.asking import play

HELLO = [{"role": "user", "content": "Hello"}]
LAST = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}


def ask(folder: Any, reply: Any, task: str, **given: Any) -> Any:
    async def scene(server: Any, create: Any) -> Any:
        return await create().ask(task, only_end=True, **given)

    return play(folder, reply, scene=scene)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 5, "completion_tokens": -1_000_000},
        {"prompt_tokens": -1},
        {"prompt_tokens": 10**30},
        {"completion_tokens": 1e308},
        {"completion_tokens": "5"},
        {"completion_tokens": True},
        {"prompt_tokens_details": {"cached_tokens": -5}},
        {"completion_tokens_details": {"reasoning_tokens": []}},
    ],
)
def test_tokens_that_are_no_count_are_charged_to_nobody(tmp_path, usage):
    told = ask(tmp_path, events_reply({**LAST, "usage": usage}), "chat", messages=HELLO)
    assert isinstance(told.error, UpstreamFailed)


def test_what_is_told_of_tokens_may_leave_out_what_was_cached(tmp_path):
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    told = ask(tmp_path, events_reply({**LAST, "usage": usage}), "chat", messages=HELLO)
    assert told.value["usage"] == {**usage, "cached_tokens": 0}


@pytest.mark.parametrize("tokens", [-1, 10**30, "5"])
def test_vectors_with_no_count_of_tokens_are_useless(tmp_path, tokens):
    reply = json_reply(
        {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": tokens}}
    )
    told = ask(tmp_path, reply, "embeddings", inputs=["a"])
    assert isinstance(told.error, UpstreamFailed)


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"reasoning_content": "x"},
        {"tool_calls": [{"index": 0, "function": {"name": "a", "arguments": "x"}}]},
    ],
)
def test_a_text_without_end_is_broken_off(tmp_path, monkeypatch, delta):
    monkeypatch.setattr(text, "MAX_TEXT", 100 * text.PIECE)
    events = [{"choices": [{"index": 0, "delta": delta}]}] * 100
    told = ask(tmp_path, events_reply(*events[:50], LAST), "chat", messages=HELLO)
    assert told.value["choices"]
    told = ask(tmp_path, events_reply(*events, LAST), "chat", messages=HELLO)
    assert isinstance(told.error, UpstreamFailed)
