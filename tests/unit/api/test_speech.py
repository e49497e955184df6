"""`/v1/audio/speech` and `/v1/audio/voices`, as OpenAI's client uses them."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
from typing import Any

import openai
import pytest

from onebox.api.app import create_app
from onebox.core.errors import InvalidInput, OutOfMemory, QueueFull
from tests.unit.api.asking import ADMIN, NO_ANSWER, ask
from tests.unit.api.fakes import Models, entry
from tests.unit.api.texts import Texts, events, post, with_sdk

PATH = "/v1/audio/speech"
VOICES = "/v1/audio/voices"
HELLO = {"model": "m", "input": "Hello.", "voice": "alloy"}
USAGE = {"input_tokens": 6, "output_tokens": 40, "total_tokens": 46}
RESULT = {"seed": 7, "duration": 1.5, "usage": USAGE}
DELTAS = [{"data": b"ID\x00\xff"}, {"data": b"3"}, {"data": b"last"}]
SOUND = b"ID\x00\xff3last"


def said(failure: Exception | None = None) -> Texts:
    return Texts(RESULT, DELTAS, failure)


def asked(services, **fields: Any):
    answer, texts = post(services, PATH, {**HELLO, **fields}, said())
    assert answer.status == 200, answer.body
    return texts.input


def test_the_sound_is_the_body(services):
    answer, texts = post(services, PATH, HELLO, said())
    assert (answer.status, answer.body) == (200, SOUND)
    assert answer.headers["content-type"] == "audio/mpeg"
    assert "content-length" not in answer.headers
    assert (texts.task, texts.model) == ("speech", "m")
    given = texts.input
    assert (given.input, given.voice, given.stream) == ("Hello.", "alloy", True)
    assert (given.response_format, given.speed) == ("mp3", 1)


@pytest.mark.parametrize(
    ("response_format", "media_type"),
    [
        (None, "audio/mpeg"),
        ("mp3", "audio/mpeg"),
        ("opus", "audio/ogg"),
        ("aac", "audio/aac"),
        ("flac", "audio/flac"),
        ("wav", "audio/wav"),
        ("pcm", "audio/pcm"),
    ],
)
def test_formats(services, response_format, media_type):
    answer, texts = post(services, PATH, {**HELLO, "response_format": response_format}, said())
    assert answer.headers["content-type"] == media_type
    assert texts.input.response_format == (response_format or "mp3")


def test_the_seed_is_told_and_used(services):
    answer, texts = post(services, PATH, {**HELLO, "seed": 0}, said())
    assert (answer.headers["x-onebox-seed"], texts.input.seed) == ("0", 0)
    answer, texts = post(services, PATH, HELLO, said())
    assert answer.headers["x-onebox-seed"] == str(texts.input.seed)


def test_what_a_voice_may_be(services):
    assert asked(services, voice={"id": "joe"}).voice == "joe"
    assert asked(services, voice=None).voice == "default"


def test_fields_of_ours_and_fields_without_effect(services):
    body = {**HELLO, "speed": 1.5, "timeout_s": 9, "priority": "batch", "instructions": "Whisper."}
    _, texts = post(services, PATH, body, said())
    assert texts.input.speed == 1.5
    assert (texts.options.timeout_s, texts.options.priority) == (9, "batch")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"input": None}, "input"),
        ({"input": ["x"]}, "input"),
        ({"speed": 0.2}, "speed"),
        ({"speed": 4.1}, "speed"),
        ({"speed": "quick"}, "speed"),
        ({"voice": {}}, "voice"),
        ({"voice": {"id": 7}}, "voice"),
        ({"voice": {"id": "joe", "x": 1}}, "voice"),
        ({"voice": 7}, "voice"),
        ({"voice": ""}, "voice"),
        ({"response_format": "ogg"}, "response_format"),
        ({"stream_format": "mp3"}, "stream_format"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"instructions": "x" * 4097}, "instructions"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_said(roomy, fields, param):
    answer, texts = post(roomy, PATH, {**HELLO, **fields})
    assert (answer.status, answer.error["param"], texts.task) == (400, param, "")


def test_the_longest_text(roomy):
    assert len(asked(roomy, input="é" * 4096).input) == 4096


class Early(Texts):
    """Fails before the first byte."""

    async def stream(self, prepared: Any) -> Any:
        raise self.failure
        yield


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
@pytest.mark.parametrize(
    ("failure", "status"),
    [(InvalidInput("no voice", param="voice"), 400), (QueueFull("full"), 429)],
)
def test_an_early_error_has_its_own_status(services, stream_format, failure, status):
    body = {**HELLO, "stream_format": stream_format}
    answer, _ = post(services, PATH, body, Early(failure=failure))
    assert (answer.status, answer.error["code"]) == (status, failure.code)


def test_a_late_error_breaks_the_sound_off(services):
    answer, _ = post(services, PATH, HELLO, said(OutOfMemory("no room left")))
    # Not a byte of an error among those of the sound; that the end is missing: test_streaming.
    assert (answer.status, answer.body) == (200, SOUND)


def test_events(services):
    answer, _ = post(services, PATH, {**HELLO, "stream_format": "sse"}, said())
    assert answer.headers["content-type"].startswith("text/event-stream")
    *deltas, done = events(answer)
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(delta["audio"]) for delta in deltas) == SOUND
    assert done == {"type": "speech.audio.done", "usage": USAGE}


def test_the_body_says_whether_there_are_events_and_no_header(services):
    app_headers = {**ADMIN, "accept": "text/event-stream"}
    _, texts = post(services, PATH, HELLO, said())
    app = create_app(dataclasses.replace(services, inference=texts))
    answer = ask(app, "POST", PATH, app_headers, b'{"model": "m", "input": "Hi", "voice": "ash"}')
    assert answer.headers["content-type"] == "audio/mpeg"


def test_a_late_error_among_events_is_the_last_one(services):
    body = {**HELLO, "stream_format": "sse"}
    answer, _ = post(services, PATH, body, said(OutOfMemory("no room left")))
    *_, error = events(answer)
    assert error["error"]["code"] == "insufficient_memory"


def test_a_client_that_leaves_ends_the_request(services):
    leaves, ended = asyncio.Event(), []

    class Endless(Texts):
        async def stream(self, prepared: Any) -> Any:
            leaves.set()
            try:
                await asyncio.Future()
                yield
            finally:
                ended.append(True)

    app = create_app(dataclasses.replace(services, inference=Endless()))
    answer = ask(app, "POST", PATH, ADMIN, b'{"input": "Hi"}', leaves=leaves)
    assert (ended, answer.status) == ([True], NO_ANSWER)


def test_the_sdk_reads_it_whole_and_in_pieces(services):
    async def use(client: openai.AsyncOpenAI) -> tuple[bytes, bytes]:
        whole = await client.audio.speech.create(**HELLO, response_format="wav", speed=2)
        async with client.audio.speech.with_streaming_response.create(**HELLO) as answer:
            pieces = [piece async for piece in answer.iter_bytes()]
        return whole.content, b"".join(pieces)

    assert with_sdk(services, said(), use) == (SOUND, SOUND)


def test_the_sdk_reads_events(services):
    async def use(client: openai.AsyncOpenAI) -> str:
        whole = await client.audio.speech.create(**HELLO, stream_format="sse")
        return whole.text

    lines = with_sdk(services, said(), use).split("\n\n")
    assert [line for line in lines if line.startswith("data: ")][-1].startswith(
        'data: {"type":"speech.audio.done"'
    )


def voice(voice_id: str, language: str = "en") -> dict[str, str]:
    return {"id": voice_id, "name": voice_id.title(), "language": language}


def speaker(name: str, *voices: dict[str, str], **facts: Any):
    return entry(name, tasks=("speech",), facts={"voices": list(voices)}, **facts)


class Speakers(Models):
    def __init__(self) -> None:
        super().__init__("drawing")
        self._entries |= {
            "one": speaker("one", voice("joe"), overrides={"licence": "unclear"}),
            "two": speaker("two", voice("anna", "de"), voice("alloy", "de")),
            "bad": speaker("bad", voice("nobody"), status="broken", reason="half of it"),
        }


def voices(services, query: str = ""):
    speakers = Speakers()
    app = create_app(dataclasses.replace(services, registry=speakers, catalogue=speakers))
    return ask(app, "GET", f"{VOICES}{query}", ADMIN)


def test_all_voices(services):
    answer = json.loads(voices(services).body)
    assert answer["object"] == "list"
    joe, anna, alloy = answer["data"]
    assert {**joe, "aliases": None} == {
        "id": "joe",
        "name": "Joe",
        "object": "audio.voice",
        "language": "en",
        "model": "one",
        "default": True,
        "aliases": None,
        "licence": "unclear",
        "licence_note": None,
    }
    assert {"default", "alloy", "nova"} <= set(joe["aliases"])
    assert (anna["id"], anna["model"], anna["default"]) == ("anna", "two", True)
    # A voice of its own goes before OpenAI's of the same name.
    assert "alloy" not in anna["aliases"]
    assert "nova" in anna["aliases"]
    assert (alloy["id"], alloy["default"], alloy["aliases"]) == ("alloy", False, [])


def test_the_voices_of_one_model(services):
    answer = json.loads(voices(services, "?model=two").body)
    assert [found["id"] for found in answer["data"]] == ["anna", "alloy"]


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("gone", 404, "model_not_found"),
        ("drawing", 400, "task_not_supported"),
        ("bad", 400, "model_broken"),
    ],
)
def test_a_model_without_voices(services, model, status, code):
    answer = voices(services, f"?model={model}")
    assert (answer.status, answer.error["code"]) == (status, code)
