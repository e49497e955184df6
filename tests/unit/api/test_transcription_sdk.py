"""`/v1/audio/transcriptions` and `/v1/audio/translations` through OpenAI's own client."""

from __future__ import annotations

import openai
import pytest
from openai.types.audio import Transcription, TranscriptionVerbose, Translation, TranslationVerbose

from onebox.core.errors import OutOfMemory
from tests.unit.api.sounds import (
    FILE,
    SEGMENTS,
    TOKENS,
    WAV,
    WORDS,
    collect,
    delta,
    hearing,
    sync_client,
    transcript,
)
from tests.unit.api.texts import Texts, with_sdk


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("json", Transcription),
        ("verbose_json", TranscriptionVerbose),
        ("text", str),
        ("srt", str),
        ("vtt", str),
    ],
)
def test_the_sdk_reads_every_form(services, name, kind):
    async def use(client: openai.AsyncOpenAI):
        found = await client.audio.transcriptions.create(
            file=FILE, model="whisper-1", response_format=name, language="en", temperature=0
        )
        english = await client.audio.translations.create(
            file=FILE, model="whisper-1", response_format=name
        )
        return found, english

    found, english = with_sdk(services, hearing(), use)
    assert isinstance(found, kind)
    if name != "vtt" and kind is str:
        assert found == english
    plain = sync_client(services, hearing()).audio.transcriptions.create(
        file=FILE, model="whisper-1", response_format=name
    )
    assert plain == found
    if kind is not str:
        expected = Translation if name == "json" else TranslationVerbose
        assert isinstance(english, expected)
        assert plain.usage.seconds == 4.0


def test_the_sdk_sends_all_its_fields(services):
    texts = hearing(words=WORDS)
    found = sync_client(services, texts).audio.transcriptions.create(
        file=("speech.mp3", WAV),
        model="whisper-1",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        chunking_strategy={"type": "server_vad", "threshold": 0.3, "prefix_padding_ms": 100},
        languages=["en"],
        keywords=["Onebox", "mel"],
        prompt="A talk about",
        extra_body={"seed": 3, "priority": "batch"},
    )
    assert (found.words[0].word, found.segments[1].start) == ("Hi", 2.0)
    given = texts.input
    assert (given.vad.threshold, given.vad.prefix_padding_ms) == (0.3, 100)
    assert (given.language, given.prompt) == ("en", "A talk about Onebox, mel")
    assert (given.seed, texts.options.priority) == (3, "batch")


def test_the_sdk_reads_a_stream(services):
    texts = Texts(transcript(logprobs=TOKENS), [delta(SEGMENTS[0], logprobs=TOKENS)])

    async def use(client: openai.AsyncOpenAI):
        stream = await client.audio.transcriptions.create(
            file=FILE, model="whisper-1", stream=True, include=["logprobs"]
        )
        return await collect(stream)

    first, done = with_sdk(services, texts, use)
    assert (first.type, first.delta) == ("transcript.text.delta", "Hi there.")
    assert (done.type, done.logprobs[0].token) == ("transcript.text.done", " Hi")
    plain = sync_client(services, texts).audio.transcriptions.create(
        file=FILE, model="whisper-1", stream=True, include=["logprobs"]
    )
    assert [event.type for event in plain] == [first.type, done.type]


def test_the_sdk_raises_a_late_error(services):
    texts = Texts(deltas=[delta(SEGMENTS[0])], failure=OutOfMemory("no room left"))
    stream = sync_client(services, texts).audio.transcriptions.create(
        file=FILE, model="whisper-1", stream=True
    )
    with pytest.raises(openai.APIError, match="no room left"):
        list(stream)
