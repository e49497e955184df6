"""Spoken by the starter voice, heard by Whisper: both by real weights, through the whole server."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from onebox.starter.catalogue import JOE, WHISPER
from tests.support.asking import Background
from tests.support.ends import in_background
from tests.support.server import Server, running_server
from tests.support.speaking import FORMATS, seconds_of, speech
from tests.support.starter import voice_folder, whisper_folder
from tests.support.talking import ONE_THREAD

FOX = "The quick brown fox jumps over the lazy dog."
# Written, and as it must be heard.
SAID = [
    (FOX, "the quick brown fox jumps over the lazy dog"),
    ("They will record a new record in March.", "they will record a new record in march"),
    ("Please close the door; it is a close friend.", "please close the door it is a close friend"),
    ("Dr. Smith paid $5 on Jan. 3rd.", "dr smith paid 5 on january 3rd"),
]  # fmt: skip
TEN = " ".join([FOX] * 10)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("speaking") / "data"
    folders = f"{voice_folder()},{whisper_folder()}"
    with running_server(data_dir, voice_folder(), **ONE_THREAD, MODEL_DIRS=folders) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def background() -> Iterator[Background]:
    with in_background() as submit:
        yield submit


def heard(client: httpx.Client, data: bytes, sound: str = "wav") -> str:
    answer = client.post(
        "/v1/audio/transcriptions",
        files={"file": (f"speech.{sound}", data)},
        data={"model": WHISPER.folder},
    )
    assert answer.status_code == 200, answer.text
    return " ".join(re.findall(r"[a-z0-9']+", answer.json()["text"].lower()))


@pytest.mark.parametrize(("written", "said"), SAID)
def test_what_is_written_is_heard(client: httpx.Client, written: str, said: str) -> None:
    data = speech(client, written, model=JOE.folder, response_format="wav")
    assert heard(client, data) == said


@pytest.mark.parametrize("sound", [sound for sound in FORMATS if sound not in ("pcm", "wav")])
def test_every_format_carries_the_words(client: httpx.Client, sound: str) -> None:
    data = speech(client, FOX, model=JOE.folder, response_format=sound)
    assert heard(client, data, sound) == SAID[0][1]


def test_one_seed_is_one_sound_alone_and_among_others(
    client: httpx.Client, background: Background
) -> None:
    def ask(seed: int) -> bytes:
        return speech(client, FOX, model=JOE.folder, response_format="pcm", seed=seed)

    alone = ask(7)
    assert seconds_of(alone, "pcm") == pytest.approx(2.8, abs=0.8)
    crowd = [background(ask, seed) for seed in (1, 2, 3, 7)]
    *others, again = [asked.result(120) for asked in crowd]
    assert again == alone
    assert len({alone, *others}) == 4


def test_the_sdk_streams_ten_sentences_that_go_on_without_a_gap(
    server: Server, client: httpx.Client
) -> None:
    with (
        server.sdk() as sdk,
        sdk.audio.speech.with_streaming_response.create(
            model=JOE.folder, voice="alloy", input=TEN, response_format="mp3", speed=2
        ) as answer,
    ):
        data = b"".join(answer.iter_bytes())
    # Ten times 2.8 s and the silence between them, at twice the speed.
    assert seconds_of(data, "mp3") == pytest.approx(15, abs=3)
