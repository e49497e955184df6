"""`/v1/audio/transcriptions` and `/v1/audio/translations`: answers in all forms, and streams."""

from __future__ import annotations

import json

import pytest
from openai.types.audio import Transcription, TranscriptionVerbose, TranslationVerbose

from onebox.core.errors import InvalidInput, OutOfMemory
from tests.unit.api.sounds import (
    FILE,
    SEGMENTS,
    TOKENS,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    WORDS,
    delta,
    hearing,
    send,
    transcribe,
    transcript,
)
from tests.unit.api.texts import Texts

USAGE = {"type": "duration", "seconds": 4.0}
STREAM = ("stream", "true")


def told(answer):
    """The data of a stream's events, each of which has the event's name."""
    found = []
    for part in answer.body.decode().split("\n\n"):
        if part and not part.startswith(":"):
            name, data = part.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {found[-1].get('type', 'error')}"
    return found


def test_json_is_the_default(services):
    answer, _ = transcribe(services)
    assert answer.headers["content-type"] == "application/json"
    body = json.loads(answer.body)
    Transcription.model_validate(body, strict=True)
    assert body == {
        "text": "Hi there. Go & see.",
        "usage": USAGE,
        "languages": [{"code": "en"}],
    }


def verbose(answer):
    body = json.loads(answer.body)
    TranscriptionVerbose.model_validate(body, strict=True)
    return body


def test_verbose_json_has_segments_by_default(services):
    body = verbose(transcribe(services, ("response_format", "verbose_json"))[0])
    assert body == {
        "task": "transcribe",
        "language": "english",
        "duration": 4.0,
        "text": "Hi there. Go & see.",
        "usage": USAGE,
        "segments": SEGMENTS,
    }
    assert isinstance(body["duration"], float)
    assert isinstance(body["segments"][1]["end"], float)


def test_verbose_json_has_words_only_when_they_were_asked_for(services):
    parts = [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")]
    body = verbose(transcribe(services, *parts, texts=hearing(words=WORDS))[0])
    assert body["words"] == WORDS
    assert "segments" not in body


def test_nothing_is_null_where_nothing_was_said(services):
    silence = hearing(text="", language=None, segments=[], words=None, speech_end=None)
    parts = [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")]
    body = verbose(transcribe(services, *parts, texts=silence)[0])
    assert (body["words"], body["text"], body["language"]) == ([], "", "unknown")
    assert json.loads(transcribe(services, texts=silence)[0].body)["languages"] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("text", "Hi there. Go & see.\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:01,500\nHi there.\n\n2\n00:00:02,000 --> "),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHi there.\n\n"),
    ],
)
@pytest.mark.parametrize("path", [TRANSCRIPTIONS, TRANSLATIONS])
def test_plain_texts(services, path, name, expected):
    answer, _ = send(services, path, [("file", FILE), ("response_format", name)])
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.body.decode().startswith(expected)


def test_a_translation(services):
    answer, texts = send(services, TRANSLATIONS, [("file", FILE), ("prompt", "Hm")])
    assert (texts.input.translate, texts.input.prompt) == (True, "Hm")
    assert json.loads(answer.body) == {"text": "Hi there. Go & see."}


def test_a_translation_with_segments_is_in_english(services):
    parts = [("file", FILE), ("response_format", "verbose_json"), ("language", "de")]
    answer, texts = send(services, TRANSLATIONS, parts, hearing(language="de"))
    body = json.loads(answer.body)
    TranslationVerbose.model_validate(body, strict=True)
    assert (texts.input.language, body["language"], body["task"]) == ("de", "english", "translate")
    assert body["segments"] == SEGMENTS


@pytest.mark.parametrize("name", ["stream", "timestamp_granularities[]", "keywords[]", "include"])
def test_a_translation_takes_no_more_than_openai_s(services, name):
    answer, _ = send(services, TRANSLATIONS, [("file", FILE), (name, "true")])
    assert (answer.status, answer.error["code"]) == (400, "unknown_parameter")


def test_a_stream(services):
    answer, _ = transcribe(services, STREAM)
    assert answer.headers["content-type"].startswith("text/event-stream")
    first, second, done = told(answer)
    assert first == {"type": "transcript.text.delta", "delta": "Hi there.", "start": 0, "end": 1.5}
    assert second["delta"] == " Go & see."
    assert done == {
        "type": "transcript.text.done",
        "text": first["delta"] + second["delta"],
        "usage": USAGE,
        "languages": [{"code": "en"}],
    }


def test_a_stream_with_logprobs(services):
    texts = Texts(transcript(logprobs=TOKENS), [delta(SEGMENTS[0], logprobs=TOKENS)])
    answer, _ = transcribe(services, STREAM, ("include[]", "logprobs"), texts=texts)
    assert texts.input.logprobs
    assert [event["logprobs"] for event in told(answer)] == [TOKENS, TOKENS]


def test_an_early_error_of_a_stream_has_a_status(services):
    texts = Texts(failure=InvalidInput("no sound in it", param="file"))
    answer, _ = transcribe(services, STREAM, texts=texts)
    assert (answer.status, answer.error["param"]) == (400, "file")


def test_a_late_error_of_a_stream_is_its_last_event(services):
    texts = Texts(deltas=[delta(SEGMENTS[0])], failure=OutOfMemory("no room left"))
    *_, last = told(transcribe(services, STREAM, texts=texts)[0])
    assert last["error"]["code"] == "insufficient_memory"
