"""`/v1/generate`, `/v1/tokenize` and `/v1/detokenize`."""

from __future__ import annotations

import json

import pytest

from onebox.core.errors import OutOfMemory
from tests.unit.api.asking import ADMIN, ask
from tests.unit.api.texts import HI, Texts, app_with, chat_result, choice, events, post

GENERATE = "/v1/generate"
REST = {
    "id": "abc123",
    "model": "smol",
    "finish_reason": "length",
    "prompt_tokens": 9,
    "completion_tokens": 3,
    "seed": 7,
    "processing_time": 1.5,
}
RESULT = chat_result(choice(finish_reason="length"))
DELTAS = [
    {"index": 0, "reasoning": "Hm"},
    {"index": 0, "content": "Hel"},
    {"index": 0, "content": "lo"},
    {"index": 0, "finish_reason": "length"},
]


def test_a_prompt_is_the_one_message_of_a_chat(services):
    body = {"prompt": "Hi", "temperature": 0, "top_p": 1, "max_tokens": 16384, "model": "m"}
    answer, texts = post(services, GENERATE, body, Texts(RESULT))
    assert json.loads(answer.body) == {**REST, "text": "Hello"}
    assert (texts.task, texts.model) == ("chat", "m")
    (message,) = texts.input.messages
    assert (message.role, message.content) == ("user", "Hi")
    assert (texts.input.temperature, texts.input.top_p, texts.input.max_tokens) == (0, 1, 16384)


@pytest.mark.parametrize(
    ("target", "headers"),
    [(f"{GENERATE}?stream=true", {}), (GENERATE, {"accept": "text/event-stream"})],
)
def test_a_stream(services, target, headers):
    app = app_with(services, Texts(RESULT, DELTAS))
    answer = ask(app, "POST", target, {**ADMIN, **headers}, b'{"prompt": "Hi"}')
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert events(answer) == [{"text": "Hel"}, {"text": "lo"}, {**REST, "text": ""}, "[DONE]"]


def test_a_late_error_is_the_last_event(services):
    texts = Texts(deltas=DELTAS[:2], failure=OutOfMemory("no room left"))
    answer, _ = post(services, f"{GENERATE}?stream=true", {"prompt": "Hi"}, texts)
    text, error = events(answer)
    assert text == {"text": "Hel"}
    assert (error["error"]["code"], error["error"]["status"]) == ("insufficient_memory", 503)


@pytest.mark.parametrize(
    ("body", "param"),
    [({}, "prompt"), ({"prompt": ""}, "prompt"), ({"prompt": ["x"]}, "prompt")],
)
def test_wrong_prompts(services, body, param):
    answer, _ = post(services, GENERATE, body)
    assert (answer.status, answer.error["param"]) == (422, param)


def test_tokens_of_a_text_and_of_a_conversation(services):
    result = {"tokens": [1, 2], "count": 2, "max_model_len": 100}
    answer, texts = post(
        services, "/v1/tokenize", {"text": "Hi", "add_special_tokens": False}, Texts(result)
    )
    assert json.loads(answer.body) == result
    assert (texts.task, texts.input.text) == ("tokenize", "Hi")
    assert texts.input.add_special_tokens is False
    _, texts = post(services, "/v1/tokenize", {"messages": HI, "model": "m"}, Texts(result))
    assert (texts.model, texts.input.messages[0].content) == ("m", "Hi")


def test_the_text_of_tokens(services):
    answer, texts = post(services, "/v1/detokenize", {"tokens": [1, 2]}, Texts({"text": "Hi"}))
    assert json.loads(answer.body) == {"text": "Hi"}
    assert (texts.task, texts.input.tokens) == ("detokenize", [1, 2])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/tokenize", {}),
        ("/v1/tokenize", {"text": "x", "messages": HI}),
        ("/v1/tokenize", {"text": 7}),
        ("/v1/tokenize", {"messages": []}),
        ("/v1/tokenize", {"text": "x", "unheard_of": 1}),
        ("/v1/detokenize", {}),
        ("/v1/detokenize", {"tokens": [-1]}),
        ("/v1/detokenize", {"tokens": ["x"]}),
        ("/v1/detokenize", {"tokens": [2**31]}),
    ],
)
def test_what_cannot_be_turned(services, path, body):
    answer, texts = post(services, path, body)
    assert (answer.status, texts.task) == (422, "")


def test_pictures_have_no_count_of_tokens(services):
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    body = {"messages": [{"role": "user", "content": [part]}]}
    answer, _ = post(services, "/v1/tokenize", body)
    assert (answer.status, answer.error["param"]) == (422, "messages")
