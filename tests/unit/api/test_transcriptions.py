"""`/v1/audio/transcriptions` and `/v1/audio/translations`: what may be sent."""

from __future__ import annotations

import json

import pytest

from onebox.api.app import create_app
from tests.unit.api.asking import ADMIN, ask, build, tear_down
from tests.unit.api.sounds import (
    FILE,
    TOKENS,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    WAV,
    form,
    hearing,
    send,
    transcribe,
)
from tests.unit.api.texts import app_with

BODY_LIMIT = 20_000
STREAM = ("stream", "true")


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    built = build(tmp_path_factory.mktemp("onebox"), max_body_bytes=BODY_LIMIT)
    yield built
    tear_down(built)


def test_what_is_left_out_is_left_to_the_task(services):
    answer, texts = transcribe(services)
    assert answer.status == 200, answer.body
    assert (texts.task, texts.model) == ("transcription", None)
    given = texts.input
    assert (given.file.data, given.file.media_type) == (WAV, "audio/wav")
    assert (given.language, given.prompt, given.temperature) == (None, "", None)
    assert (given.words, given.logprobs, given.translate) == (False, False, False)


def test_every_field_reaches_the_task(services):
    vad = '{"type": "server_vad", "threshold": 0.7, "silence_duration_ms": 250}'
    _, texts = transcribe(
        services,
        ("model", "org/whisper"),
        ("language", "English"),
        ("prompt", "Onebox,"),
        ("keywords[]", "torch"),
        ("keywords[]", "mel"),
        ("temperature", "0.5"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
        ("chunking_strategy", vad),
        ("seed", "7"),
        ("timeout_s", "30"),
        ("priority", "batch"),
    )
    given = texts.input
    assert (texts.model, given.language, given.prompt) == (
        "org/whisper",
        "en",
        "Onebox, torch, mel",
    )
    assert (given.temperature, given.words, given.seed) == (0.5, True, 7)
    assert (given.vad.threshold, given.vad.silence_duration_ms) == (0.7, 250)
    assert given.vad.prefix_padding_ms == type(given.vad)().prefix_padding_ms
    assert (texts.options.timeout_s, texts.options.priority) == (30, "batch")


@pytest.mark.parametrize(
    "parts",
    [
        [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[threshold]", "0.25")],
        [("chunking_strategy", '{"type":"server_vad","threshold":0.25}')],
    ],
)
def test_a_nested_field_in_both_spellings(services, parts):
    _, texts = transcribe(services, *parts)
    assert texts.input.vad.threshold == 0.25


@pytest.mark.parametrize("path", [TRANSCRIPTIONS, TRANSLATIONS])
@pytest.mark.parametrize(
    ("told", "timestamps"),
    [("json", False), ("text", False), ("srt", True), ("vtt", True), ("verbose_json", True)],
)
def test_times_are_only_looked_for_where_they_are_told(services, path, told, timestamps):
    _, texts = send(services, path, [("file", FILE), ("response_format", told)])
    assert texts.input.timestamps is timestamps


def test_automatic_chunking_is_what_happens_anyway(services):
    _, texts = transcribe(services, ("chunking_strategy", "auto"))
    assert texts.input.vad == transcribe(services)[1].input.vad


@pytest.mark.parametrize(
    "names",
    [
        ("timestamp_granularities", "timestamp_granularities"),
        ("timestamp_granularities[]", "timestamp_granularities[]"),
        ("timestamp_granularities[0]", "timestamp_granularities[1]"),
        ("timestamp_granularities[]", "timestamp_granularities"),
    ],
)
def test_lists_in_all_spellings(services, names):
    parts = zip(names, ("word", "segment"), strict=True)
    answer, _ = transcribe(services, ("response_format", "verbose_json"), *parts)
    assert {"words", "segments"} <= json.loads(answer.body).keys()


def test_one_of_a_list(services):
    answer, _ = transcribe(services, ("include", "logprobs"), texts=hearing(logprobs=TOKENS))
    assert json.loads(answer.body)["logprobs"] == TOKENS


def test_a_field_without_text_is_one_that_was_left_out(services):
    answer, texts = transcribe(
        services, ("model", ""), ("language", ""), ("temperature", ""), ("keywords[]", "")
    )
    assert answer.status == 200
    assert (texts.model, texts.input.language, texts.input.temperature) == (None, None, None)


@pytest.mark.parametrize(("name", "code"), [("de", "de"), ("DE", "de"), ("german", "de")])
def test_a_language_by_code_or_name(services, name, code):
    assert transcribe(services, ("language", name))[1].input.language == code
    assert transcribe(services, ("languages[]", name))[1].input.language == code


def test_the_same_language_said_twice(services):
    _, texts = transcribe(services, ("languages[]", "en"), ("language", "english"))
    assert texts.input.language == "en"


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([("languages[]", "en"), ("languages[]", "de")], "languages"),
        ([("languages[]", "en"), ("language", "de")], "languages"),
        ([("languages[]", "klingon")], "languages"),
        ([("language", "klingon")], "language"),
        ([("temperature", "1.5")], "temperature"),
        ([("temperature", "nan")], "temperature"),
        ([("temperature", "hot")], "temperature"),
        ([("response_format", "xml")], "response_format"),
        ([("response_format", "diarized_json")], "response_format"),
        ([("known_speaker_names[]", "Ann")], "known_speaker_names"),
        ([("known_speaker_references[]", "data:,")], "known_speaker_references"),
        ([("timestamp_granularities[]", "word")], "timestamp_granularities"),
        (
            [("response_format", "verbose_json"), ("timestamp_granularities[]", "day")],
            "timestamp_granularities.0",
        ),
        ([("include[]", "usage")], "include.0"),
        ([("include[]", "logprobs"), ("response_format", "verbose_json")], "include"),
        ([("include[]", "logprobs"), ("response_format", "srt")], "include"),
        ([STREAM, ("response_format", "vtt")], "response_format"),
        ([STREAM, ("response_format", "verbose_json")], "response_format"),
        ([("stream", "perhaps")], "stream"),
        ([("chunking_strategy", "never")], "chunking_strategy"),
        ([("chunking_strategy", "[" * 5000)], "chunking_strategy"),
        ([("chunking_strategy", '{"type": "loud"}')], "chunking_strategy.type"),
        ([("chunking_strategy[threshold]", "0.5")], "chunking_strategy.type"),
        (
            [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[threshold]", "2")],
            "chunking_strategy.threshold",
        ),
        ([("prompt", "x" * 4001)], "prompt"),
        ([("prompt", "x" * 3990), ("keywords[]", "y" * 20)], "keywords"),
        ([("seed", "-1")], "seed"),
        ([("priority", "urgent")], "priority"),
        ([("timeout_s", "0")], "timeout_s"),
        ([("model", "a"), ("model", "b")], "model"),
        ([("beam_size", "5")], "beam_size"),
        ([("extra[part]", "5")], "extra"),
        ([("audio", ("a.wav", WAV, "audio/wav"))], "audio"),
        ([("file", ("b.wav", WAV, "audio/wav"))], "file"),
        ([("prompt", ("p.txt", b"Hi", "text/plain"))], "prompt"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(services, parts, param):
    answer, texts = transcribe(services, *parts)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert texts.input is None


@pytest.mark.parametrize("path", [TRANSCRIPTIONS, TRANSLATIONS])
@pytest.mark.parametrize(
    "parts",
    [
        [("model", "m")],
        [("file", "not a file")],
        [("file", "data:audio/wav;base64,UklGRg==")],
        [("file", ("empty.wav", b"", "audio/wav"))],
        [("file", ("a.pcm", b"\0\0", "audio/pcm; rate=8000"))],
    ],
)
def test_a_file_must_be_there(services, path, parts):
    answer, _ = send(services, path, parts)
    assert (answer.status, answer.error["param"]) == (400, "file")


def test_names_and_types_of_files_may_lie(services):
    for name in ("../../etc/passwd", "a;touch x", "", "x" * 300, "CON", "a\0b.mp3"):
        answer, texts = send(services, TRANSCRIPTIONS, [("file", (name, WAV, "image/png"))])
        assert (answer.status, texts.input.file.data) == (200, WAV)


@pytest.mark.parametrize("kind", ["audio/pcm", "AUDIO/PCM; rate=16000"])
def test_bare_samples_are_named_by_their_type(services, kind):
    _, texts = send(services, TRANSCRIPTIONS, [("file", ("a", b"\1\0", kind))])
    assert texts.input.file.media_type == "audio/pcm"


@pytest.mark.parametrize("body", [b'{"file": "x"}', b""])
def test_a_body_that_is_no_form_is_told_so(services, body):
    answer = ask(app_with(services, hearing()), "POST", TRANSCRIPTIONS, ADMIN, body)
    assert answer.status == 400
    assert "multipart/form-data" in answer.error["message"]


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=other"]
)
def test_a_form_that_does_not_parse_is_400(services, content_type):
    _, body = form([("file", FILE)])
    headers = {**ADMIN, "content-type": content_type}
    answer = ask(app_with(services, hearing()), "POST", TRANSCRIPTIONS, headers, body)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("part", [("k", ""), ("file", ("a", b"", "x/y"))])
def test_a_form_of_very_many_parts_is_told_so(services, part):
    answer, _ = send(services, TRANSCRIPTIONS, [part] * (25 if part[0] == "file" else 257))
    assert (answer.status, answer.error["message"][:8]) == (400, "Too many")


def test_a_file_over_the_limit_is_413(services):
    answer, _ = send(
        services, TRANSCRIPTIONS, [("file", ("a.wav", bytes(BODY_LIMIT), "audio/wav"))]
    )
    assert (answer.status, answer.error["code"]) == (413, "payload_too_large")


def test_the_page_shows_the_form(services):
    app = create_app(services)
    for path in (TRANSCRIPTIONS, TRANSLATIONS):
        content = app.openapi()["paths"][path]["post"]["requestBody"]["content"]
        schema = content["multipart/form-data"]["schema"]
        assert list(content) == ["multipart/form-data"]
        assert schema["properties"]["file"]["format"] == "binary"
        assert "file" in schema["required"]
