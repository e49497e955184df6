"""Speech of known text through the whole server, with Whisper's real weights."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from onebox.starter.catalogue import WHISPER
from tests.audio.sounds import RATE, wav
from tests.support.asking import events_of
from tests.support.ends import in_background
from tests.support.listening import (
    JFK,
    TEXT,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    post,
    speech,
    speech_file,
    told,
    words,
)
from tests.support.server import API_KEY, Server

SECONDS = 11.0
KINDS = ["wav", "mp3", "flac", "ogg opus", "ogg vorbis", "m4a", "webm", "mp4 with pictures"]
GRANULARITIES = "timestamp_granularities[]"


def test_every_container_gives_the_same_words_to_clients_that_come_at_once(
    listener: httpx.Client,
) -> None:
    files = [speech_file(kind) for kind in KINDS]
    with in_background() as submit:
        asked = [submit(told, listener, file) for file in files]
        found = {kind: one.result(120) for kind, one in zip(KINDS, asked, strict=True)}
    assert {kind: words(one["text"]) for kind, one in found.items()} == dict.fromkeys(
        KINDS, words(TEXT)
    )
    assert all(one["duration"] == pytest.approx(SECONDS, abs=0.15) for one in found.values())


def test_what_others_ask_meanwhile_changes_nothing(listener: httpx.Client) -> None:
    """Float32, one stretch each; the lengths differ, so that they are heard side by side."""
    clips = [wav(speech()[: int(length * RATE)]) for length in (2.3, 3.4, 5.1, 8.1, 11)]
    alone = [told(listener, clip)["text"] for clip in clips]
    with in_background() as submit:
        asked = [submit(told, listener, clip) for clip in clips]
        assert [one.result(120)["text"] for one in asked] == alone


def test_bare_samples(listener: httpx.Client) -> None:
    file = ("a", speech().tobytes(), "audio/pcm")
    answer = listener.post(TRANSCRIPTIONS, files={"file": file})
    assert words(answer.json()["text"]) == words(TEXT)


def test_curl_gets_a_text(listening_server: Server) -> None:
    done = subprocess.run(
        [
            *("curl", "-s", f"{listening_server.url}{TRANSCRIPTIONS}"),
            *("-H", f"Authorization: Bearer {API_KEY}", "-F", f"file=@{JFK}"),
            *("-F", "model=whisper-1", "-F", "response_format=text"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert words(done.stdout) == words(TEXT)


def test_the_sdk_reads_plain_and_verbose_json(listener_sdk: openai.OpenAI) -> None:
    plain = listener_sdk.audio.transcriptions.create(
        file=JFK, model="whisper-1", include=["logprobs"]
    )
    assert words(plain.text) == words(TEXT)
    assert plain.usage is not None
    assert plain.usage.type == "duration"
    assert plain.usage.seconds == pytest.approx(SECONDS)
    assert plain.logprobs
    assert words("".join(token.token or "" for token in plain.logprobs)) == words(TEXT)
    assert all(-20 < (token.logprob or 0) <= 0 for token in plain.logprobs)
    verbose = listener_sdk.audio.transcriptions.create(
        file=JFK,
        model=WHISPER.folder,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        language="en",
    )
    assert verbose.duration == pytest.approx(SECONDS)
    assert verbose.language == "english"
    assert "".join(segment.text for segment in verbose.segments or []).strip() == verbose.text
    assert " ".join(word.word for word in verbose.words or []) == verbose.text


def test_the_async_sdk_reads_the_other_forms(listening_server: Server) -> None:
    text, srt, vtt, deltas, done = asyncio.run(other_forms(listening_server))
    assert words(text) == words(TEXT)
    assert words(" ".join(cue[2] for cue in cues(srt, ","))) == words(TEXT)
    assert vtt.startswith("WEBVTT\n\n")
    assert words(" ".join(cue[2] for cue in cues(vtt, "."))) == words(TEXT)
    assert words(done) == words(TEXT)
    assert "".join(deltas) == done


async def other_forms(server: Server) -> tuple[str, str, str, list[str], str]:
    async with server.async_sdk() as sdk:
        create = sdk.audio.transcriptions.create
        text, srt, vtt = await asyncio.gather(
            create(file=JFK, model="whisper-1", response_format="text"),
            create(file=JFK, model="whisper-1", response_format="srt"),
            create(file=JFK, model="whisper-1", response_format="vtt"),
        )
        events = [event async for event in await create(file=JFK, model="whisper-1", stream=True)]
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    (done,) = [event.text for event in events if event.type == "transcript.text.done"]
    return text, srt, vtt, deltas, done


def cues(text: str, mark: str) -> list[tuple[float, float, str]]:
    """Begin, end and text of each cue of a subtitle file, which must be in order."""
    stamp = rf"(\d\d):(\d\d):(\d\d)\{mark}(\d\d\d)"
    found = []
    for times in re.finditer(rf"^{stamp} --> {stamp}\n((?:.+\n)+)", text, re.MULTILINE):
        hours, minutes, seconds, ms, *rest = [int(part) for part in times.groups()[:8]]
        begin = hours * 3600 + minutes * 60 + seconds + ms / 1000
        end = rest[0] * 3600 + rest[1] * 60 + rest[2] + rest[3] / 1000
        assert begin < end <= SECONDS
        assert not found or found[-1][1] <= begin
        found.append((begin, end, times[9].strip()))
    return found


def test_words_are_in_order_and_inside_of_the_sound(listener: httpx.Client) -> None:
    found = told(listener, JFK.read_bytes(), **{GRANULARITIES: ["word", "segment"]})
    said: list[dict[str, Any]] = found["words"]
    assert [word["word"] for word in said] == found["text"].split()
    assert all(0 <= word["start"] <= word["end"] <= SECONDS for word in said)
    assert all(one["end"] <= next_one["start"] for one, next_one in pairwise(said))
    # "ask" is said twice; as one hears it.
    asks = [word["start"] for word in said if words(word["word"]) == ["ask"]]
    assert asks == [pytest.approx(3.4, abs=1.0), pytest.approx(8.2, abs=0.5)]


def test_the_same_seed_gives_the_same_text_at_any_temperature(listener: httpx.Client) -> None:
    clip = wav(speech()[: 3 * RATE])

    def heard(seed: int) -> str:
        return str(told(listener, clip, temperature=1, seed=seed)["text"])

    texts = [heard(seed) for seed in (1, 1, 2, 3, 4)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


def test_a_prompt_changes_how_it_is_written(listener: httpx.Client) -> None:
    prompt = "KENNEDY: MY FELLOW CITIZENS, LET US WRITE ALL OF THIS IN CAPITAL LETTERS, AND SO ON."
    text = told(listener, JFK.read_bytes(), prompt=prompt)["text"]
    assert words(text) == words(TEXT)
    assert text != told(listener, JFK.read_bytes())["text"]


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (TRANSLATIONS, {}, "model"),
        (TRANSCRIPTIONS, {"language": "de"}, "language"),
        (TRANSCRIPTIONS, {"language": "klingon"}, "language"),
        (TRANSCRIPTIONS, {"response_format": "diarized_json"}, "response_format"),
        (TRANSCRIPTIONS, {"temperature": "nan"}, "temperature"),
        (TRANSCRIPTIONS, {"temperature": "-1"}, "temperature"),
    ],
)
def test_what_the_model_cannot_do_is_refused_by_name(
    listener: httpx.Client, path: str, fields: dict[str, str], param: str
) -> None:
    answer = post(listener, JFK.read_bytes(), path, **fields)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_progress_is_told_where_it_is_asked_for(listener: httpx.Client) -> None:
    headers = {"Accept": "text/event-stream"}
    fields = {"model": WHISPER.folder}
    file = {"file": ("a.flac", Path(JFK).read_bytes())}
    path = "/v1/tasks/transcription"
    with listener.stream("POST", path, files=file, data=fields, headers=headers) as answer:
        events = list(events_of(answer.iter_lines()))
    names = [event.name for event in events]
    assert "progress" in names
    assert names[-1] == "result"
    assert words(json.dumps(events[-1].data))
