"""The routes of our own: tokens, `/v1/generate` and the tasks themselves."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.asking import EVENTS, events_of
from tests.support.talking import HELLO, ask, chunks_of, refused


def post(chat: httpx.Client, path: str, **fields: Any) -> dict[str, Any]:
    answer = chat.post(path, json={"model": "llama", **fields})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


@pytest.mark.parametrize("text", ["", "Hello there", "naïve 😀 \n\t\0", "<|im_end|>"])
def test_a_text_comes_back_from_its_tokens(chat: httpx.Client, text: str) -> None:
    told = post(chat, "/v1/tokenize", text=text)
    assert told["count"] == len(told["tokens"])
    assert told["max_model_len"] == 4096
    if text != "<|im_end|>":
        assert told["tokens"] == list(text.encode())
        assert post(chat, "/v1/detokenize", tokens=told["tokens"]) == {"text": text}


def test_a_conversation_has_the_tokens_of_its_prompt(chat: httpx.Client) -> None:
    told = post(chat, "/v1/tokenize", messages=HELLO)
    assert told["count"] == ask(chat)["usage"]["prompt_tokens"]


def test_tokens_are_refused_by_name(chat: httpx.Client) -> None:
    for path, fields, param in (
        ("/v1/detokenize", {"tokens": [320]}, "tokens"),
        ("/v1/tokenize", {"text": "a", "chat_template": "x"}, "chat_template"),
    ):
        answer = chat.post(path, json={"model": "llama", **fields})
        assert answer.status_code in (400, 422)
        assert refused(answer)[1] == param
    for fields in ({}, {"text": "a", "messages": HELLO}):
        answer = chat.post("/v1/tokenize", json={"model": "llama", **fields})
        assert answer.status_code in (400, 422)


def test_one_prompt_gives_one_text(chat: httpx.Client) -> None:
    told = post(chat, "/v1/generate", prompt="Hello there", max_tokens=12, temperature=0)
    assert told["model"] == "llama"
    assert told["prompt_tokens"] == ask(chat)["usage"]["prompt_tokens"]
    assert told["completion_tokens"] <= 12
    assert told["finish_reason"] in ("length", "stop")
    again = post(chat, "/v1/generate", prompt="Hello there", max_tokens=12, temperature=0)
    assert again["text"] == told["text"]


@pytest.mark.parametrize("how", ["query", "accept"])
def test_one_prompt_streamed(chat: httpx.Client, how: str) -> None:
    body = {"model": "llama", "prompt": "Hello there", "max_tokens": 12, "temperature": 0}
    whole = chat.post("/v1/generate", json=body).json()
    path = "/v1/generate?stream=true" if how == "query" else "/v1/generate"
    headers = EVENTS if how == "accept" else {}
    answer = chat.post(path, json=body, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *pieces, last = chunks_of(answer.text.splitlines())
    assert "".join(piece["text"] for piece in pieces) == whole["text"]
    assert last["finish_reason"] == whole["finish_reason"]
    assert last["completion_tokens"] == whole["completion_tokens"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("temperature", (0, 2), (-0.1, 2.1)),
        ("top_p", (0, 1), (-0.1, 1.1)),
        ("max_tokens", (1,), (0, 16385)),
        ("prompt", ("x",), ("",)),
        ("chat_template", (), ("x",)),
    ],
)
def test_the_bounds_of_one_prompt(
    chat: httpx.Client, name: str, good: tuple[Any, ...], bad: tuple[Any, ...]
) -> None:
    body = {"model": "llama", "prompt": "Hi", "max_tokens": 1}
    for value in good:
        assert chat.post("/v1/generate", json={**body, name: value}).status_code == 200
    for value in bad:
        answer = chat.post("/v1/generate", json={**body, name: value})
        assert answer.status_code in (400, 422)
        assert refused(answer)[1] == name


def test_the_task_itself_as_json_and_as_events(chat: httpx.Client) -> None:
    body = {"model": "llama", "messages": HELLO, "max_tokens": 12, "seed": 3, "ignore_eos": True}
    body["deterministic"] = True
    (output,) = post(chat, "/v1/tasks/chat", **body)["outputs"]
    (choice,) = output["json"]["choices"]
    assert output["json"]["seed"] == 3
    answer = chat.post("/v1/tasks/chat", json=body, headers=EVENTS)
    *deltas, result = events_of(answer.text.splitlines())
    assert result.name == "result"
    assert result.data["outputs"][0]["json"]["choices"] == [choice]
    texts = [event.data["content"] for event in deltas if "content" in event.data]
    assert "".join(texts) == choice["content"]
    assert {event.name for event in deltas} <= {"delta", "loading"}
    assert deltas[-1].data == {"index": 0, "finish_reason": "length"}


def test_the_task_of_completion_itself(chat: httpx.Client) -> None:
    fields = {"prompts": ["ab", [97, 98]], "seed": 3, "deterministic": True, "temperature": 0}
    (output,) = post(chat, "/v1/tasks/completion", **fields)["outputs"]
    first, second = output["json"]["choices"]
    assert first["text"] == second["text"]
    assert output["json"]["usage"]["prompt_tokens"] == 4
