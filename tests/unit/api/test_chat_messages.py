"""OpenAI's messages, tools and pictures, as they reach the chat task."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from onebox.api.openai.image_inputs import ImageInputs
from onebox.core.errors import InvalidInput
from onebox.services.remote_media import RemoteMedia
from tests.unit.api.texts import chat

PNG = b"\x89PNG and more"
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
TEXT = {"type": "text", "text": "What is this?"}
PICTURE = {"type": "image_url", "image_url": {"url": DATA_URL, "detail": "high"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USER = {"role": "user", "content": "Hi"}


def messages(services, *given: dict[str, Any]) -> list[dict[str, Any]]:
    answer, texts = chat(services, {"messages": list(given)})
    assert answer.status == 200, answer.body
    return [message.model_dump(exclude_defaults=True) for message in texts.input.messages]


@pytest.mark.parametrize(
    ("given", "role"), [("developer", "system"), ("system", "system"), ("user", "user")]
)
def test_roles(services, given, role):
    assert messages(services, {"role": given, "content": "x", "name": "Ann"}) == [
        {"role": role, "content": "x", "name": "Ann"}
    ]


def test_calls_and_their_answers(services):
    answer = {"role": "tool", "tool_call_id": "c1", "content": "7"}
    assert messages(services, USER, {"role": "assistant", "tool_calls": [CALL]}, answer)[1:] == [
        {"role": "assistant", "tool_calls": [{"id": "c1", "name": "f", "arguments": "{}"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "7"},
    ]


def test_old_calls_get_an_id_that_their_answers_name(services):
    def asked(name: str) -> dict[str, Any]:
        return {
            "role": "assistant",
            "content": None,
            "function_call": {"name": name, "arguments": "{}"},
        }

    told = [{"role": "function", "name": name, "content": name} for name in "fg"]
    _, first, _, second, _ = found = messages(
        services, USER, asked("f"), told[0], asked("g"), told[1]
    )
    ids = [message["tool_calls"][0]["id"] for message in (first, second)]
    assert ids[0] != ids[1]
    assert [found[2]["tool_call_id"], found[4]["tool_call_id"]] == ids


def test_an_answer_may_be_given_back_as_it_came(services):
    given = {
        "role": "assistant",
        "content": "Hello",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "reasoning_content": "Hm",
    }
    assert messages(services, given) == [{"role": "assistant", "content": "Hello"}]


def test_parts(services):
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    refusal = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]}
    found = messages(
        services,
        {"role": "user", "content": [TEXT]},
        {"role": "user", "content": parts},
        refusal,
        {"role": "assistant", "refusal": "Never"},
    )
    contents = [message["content"] for message in found]
    assert contents[0] == "What is this?"
    assert [part["text"] for part in contents[1]] == ["a", "b"]
    assert contents[2:] == ["No", "Never"]


def test_pictures_are_numbered_over_all_messages(services):
    other = {"type": "image_url", "image_url": {"url": "DATA:image/webp;base64,AAAA"}}
    given = [
        {"role": "user", "content": [TEXT, PICTURE]},
        {"role": "user", "content": [other, TEXT]},
    ]
    answer, texts = chat(services, {"messages": given})
    assert answer.status == 200
    parts = [message.content for message in texts.input.messages]
    assert (parts[0][1].index, parts[1][0].index) == (0, 1)
    first, second = texts.input.images
    assert (first.media_type, first.data) == ("image/png", PNG)
    assert (second.media_type, second.data) == ("image/webp", b"\0\0\0")


def picture(url: Any) -> dict[str, Any]:
    return {"role": "user", "content": [TEXT, {"type": "image_url", "image_url": {"url": url}}]}


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.png",
        "https://example.org/a.png",
        "HTTPS://example.org/a.png",
        "//example.org/a.png",
        "file:///etc/passwd",
        "ftp://example.org/a.png",
    ],
)
def test_links_are_off_and_the_setting_is_named(services, url):
    answer, texts = chat(services, {"messages": [picture(url)]})
    assert (answer.status, answer.error["param"]) == (400, "messages.0.content.1.image_url.url")
    assert "ONEBOX_REMOTE_MEDIA" in answer.error["message"]
    assert texts.task == ""


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png,abc",
        "data:image/png;base64,!!!!",
        "data:image/png;base64,AAA",
        "data:text/html;base64,AAAA",
        "data:;base64,AAAA",
        "data:",
    ],
)
def test_data_urls_that_hold_no_picture(services, url):
    answer, _ = chat(services, {"messages": [picture(url)]})
    assert (answer.status, answer.error["param"]) == (400, "messages.0.content.1.image_url.url")


def loaded(*urls: str):
    images = ImageInputs()
    for place, url in enumerate(urls):
        images.add(url, f"place.{place}")
    return asyncio.run(images.load(RemoteMedia(enabled=False)))


def test_a_large_picture_is_read_too():
    (media,) = loaded("data:image/png;base64," + "A" * 400_000)
    assert media.data == bytes(300_000)


def test_too_many_pictures():
    small = "data:image/png;base64,AAAA"
    assert len(loaded(*[small] * 32)) == 32
    with pytest.raises(InvalidInput) as caught:
        loaded(*[small] * 33)
    assert (caught.value.param, caught.value.details) == ("place.32", {"max": 32})


def test_pictures_that_are_too_large_together():
    large = "data:image/png;base64," + "A" * 27_000_000
    with pytest.raises(InvalidInput) as caught:
        loaded(*[large] * 4)
    assert caught.value.param == "place.3"


def test_too_large_a_picture():
    with pytest.raises(InvalidInput) as caught:
        loaded("data:image/png;base64," + "A" * 28_000_000)
    assert caught.value.details == {"max": 20 * 1024 * 1024}


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"role": "user"}, "content"),
        ({"role": "user", "content": None}, "content"),
        ({"role": "user", "content": []}, "content"),
        ({"role": "user", "content": 7}, "content"),
        ({"role": "user", "content": {"type": "text"}}, "content"),
        ({"role": "assistant"}, "content"),
        ({"role": "assistant", "tool_calls": []}, "content"),
        ({"role": "tool", "content": "x"}, "tool_call_id"),
        ({"role": "bot", "content": "x"}, "role"),
        ({"content": "x"}, "role"),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "tool_calls"),
        ({"role": "user", "content": "x", "tool_call_id": "c"}, "tool_call_id"),
        ({"role": "user", "content": "x", "unheard_of": 1}, "unheard_of"),
        ({"role": "assistant", "content": "x", "audio": {"id": "a"}}, "audio"),
        ({"role": "user", "content": [{"type": "text"}]}, "content.0.text"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "content.0.image_url"),
        ({"role": "user", "content": [{"type": "video", "video": "x"}]}, "content.0.type"),
        ({"role": "user", "content": [{**TEXT, "x": 1}]}, "content.0.x"),
        ({"role": "system", "content": [PICTURE]}, "content.0"),
        ({"role": "tool", "tool_call_id": "c", "content": [PICTURE]}, "content.0"),
        (
            {"role": "user", "content": [TEXT, {"type": "input_audio", "input_audio": {}}]},
            "content.1.type",
        ),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "content.0.type"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]},
            "tool_calls.0.function",
        ),
    ],
)
def test_what_is_wrong_in_a_message_is_named_with_its_place(services, given, param):
    answer, texts = chat(services, {"messages": [USER, given]})
    assert (answer.status, answer.error["param"]) == (400, f"messages.1.{param}")
    assert texts.task == ""
