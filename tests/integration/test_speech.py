"""Text to speech through the whole server, with tiny random voices."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import shutil
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.families import tiny_voices
from tests.support.asking import EVENTS, Background, events_of
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.hostile_texts import HOSTILE
from tests.support.server import API_KEY, Server, running_server
from tests.support.speaking import FORMATS, SPEECH, seconds_of, speech, speech_body
from tests.support.talking import ONE_THREAD

TEXT = "The first sentence is this one. Here comes the second sentence! Is this the third?"
CROWD = 6


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voices")
    tiny_voices.vits(folder / "tiny")
    tiny_voices.vits(folder / "choir", speakers=3, id2label={0: "amy", 1: "ben", 2: "nova"})
    tiny_voices.speecht5(folder / "t5")
    dummy_checkpoint(folder / "mute")
    return folder


@pytest.fixture(scope="module")
def server(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    plugin = {"ONEBOX_PLUGINS": "tests.support.dummy_plugin"}
    with running_server(data_dir, voices, **ONE_THREAD, **plugin) as running:
        yield running


@pytest.fixture
def sdk(server: Server) -> Iterator[openai.OpenAI]:
    with server.sdk() as sdk:
        yield sdk


def error_of(answer: httpx.Response) -> dict[str, Any]:
    told: dict[str, Any] = answer.json()["error"]
    assert told["status"] == answer.status_code
    return told


@pytest.mark.parametrize("sound", FORMATS)
def test_every_format_can_be_decoded_and_is_as_long_as_the_others(
    client: httpx.Client, sound: str
) -> None:
    seconds = seconds_of(speech(client, TEXT, response_format="pcm"), "pcm")
    assert seconds > 0.5
    # MP3 and AAC have frames of up to 2,048 samples, and begin with some of silence.
    found = seconds_of(speech(client, TEXT, response_format=sound), sound)
    assert found == pytest.approx(seconds, abs=0.3 if sound in ("mp3", "aac") else 0.01)


def test_a_wav_that_was_streamed_is_read_by_a_reader_that_trusts_its_header(
    client: httpx.Client,
) -> None:
    data = speech(client, TEXT, response_format="wav")
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        sound = file.readframes(file.getnframes())
    assert sound == data[44:]


def test_the_sdk_gets_the_same_whole_in_pieces_and_as_events(
    sdk: openai.OpenAI, client: httpx.Client
) -> None:
    known: dict[str, Any] = {"model": "tiny", "voice": "alloy", "input": TEXT}
    more = {"extra_body": {"seed": 7}, "response_format": "mp3"}
    whole = sdk.audio.speech.create(**known, **more).content
    create = sdk.audio.speech.with_streaming_response.create
    with create(**known, **more) as answer:
        pieces = list(answer.iter_bytes(1024))
    with create(**known, **more, stream_format="sse") as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data:")]
    assert b"".join(pieces) == whole == speech(client, TEXT)
    *deltas, done = events
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(event["audio"]) for event in deltas) == whole
    assert done["type"] == "speech.audio.done"
    assert done["usage"]["input_tokens"] == done["usage"]["total_tokens"] > len("first")


def test_the_async_sdk_gets_it_too(server: Server, client: httpx.Client) -> None:
    async def ask() -> tuple[bytes, bytes]:
        async with server.async_sdk() as sdk:
            known: dict[str, Any] = {"model": "tiny", "voice": "nova", "input": TEXT}
            more = {"extra_body": {"seed": 7}, "response_format": "opus"}
            whole = await sdk.audio.speech.create(**known, **more)
            async with sdk.audio.speech.with_streaming_response.create(**known, **more) as answer:
                pieces = [piece async for piece in answer.iter_bytes()]
            return whole.content, b"".join(pieces)

    whole, pieces = asyncio.run(ask())
    assert len(whole) == len(pieces)
    assert seconds_of(whole, "opus") == seconds_of(pieces, "opus")
    assert seconds_of(whole, "opus") == pytest.approx(
        seconds_of(speech(client, TEXT, response_format="opus"), "opus")
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_writes_a_file(server: Server, client: httpx.Client, tmp_path: Path) -> None:
    told = json.dumps(speech_body("Hello there, you.", response_format="flac"))
    command = ("curl", "-sS", "--fail", f"{server.url}{SPEECH}", "-d", told, "-o", "a.flac")
    headers = (f"Authorization: Bearer {API_KEY}", "Content-Type: application/json")
    options = [part for header in headers for part in ("-H", header)]
    subprocess.run([*command, *options], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "a.flac").read_bytes() == speech(
        client, "Hello there, you.", response_format="flac"
    )


@pytest.mark.parametrize("speed", [0.25, 0.5, 2, 4])
def test_speed_divides_the_time(client: httpx.Client, speed: float) -> None:
    plain = seconds_of(speech(client, TEXT, response_format="pcm"), "pcm")
    found = seconds_of(speech(client, TEXT, response_format="pcm", speed=speed), "pcm")
    assert found == pytest.approx(plain / speed, rel=0.05)


@pytest.mark.parametrize("voice", ["amy", "ben", "nova", {"id": "ben"}, "default", "alloy", None])
def test_a_voice_is_chosen_by_its_names(client: httpx.Client, voice: Any) -> None:
    name = voice["id"] if isinstance(voice, dict) else voice
    meant = name if name in ("ben", "nova") else "amy"
    found = speech(client, "Hello you.", model="choir", voice=voice, response_format="pcm")
    wanted = speech(client, "Hello you.", model="choir", voice=meant, response_format="pcm")
    others = {"amy", "ben", "nova"} - {meant}
    assert found == wanted
    for other in others:
        assert found != speech(
            client, "Hello you.", model="choir", voice=other, response_format="pcm"
        )


def test_an_unknown_voice_is_refused_with_those_there_are(client: httpx.Client) -> None:
    for stream_format in ("audio", "sse"):
        body = speech_body("Hi.", model="choir", voice="zoe", stream_format=stream_format)
        answer = client.post(SPEECH, json=body)
        told = error_of(answer)
        assert (told["status"], told["param"]) == (400, "voice")
        assert told["details"]["voices"] == ["amy", "ben", "nova"]
        assert "amy, ben, nova" in told["message"]


def test_the_voices_of_all_models_are_listed_with_the_names_that_mean_them(
    client: httpx.Client,
) -> None:
    listed = client.get("/v1/audio/voices").json()["data"]
    found = {(voice["model"], voice["id"]): voice for voice in listed}
    assert set(found) == {
        *(("choir", name) for name in ("amy", "ben", "nova")),
        *(("t5", name) for name in ("anna", "ben")),
        ("tiny", "default"),
    }
    assert [key for key, voice in found.items() if voice["default"]] == [
        ("choir", "amy"), ("t5", "anna"), ("tiny", "default")
    ]  # fmt: skip
    assert "nova" not in found["choir", "amy"]["aliases"]
    assert "nova" in found["t5", "anna"]["aliases"]
    assert {v["id"] for v in client.get("/v1/audio/voices?model=t5").json()["data"]} == {
        "anna",
        "ben",
    }


def test_one_seed_is_one_sound_alone_and_in_a_crowd(
    client: httpx.Client, in_background: Background
) -> None:
    alone = speech(client, TEXT, response_format="pcm")
    crowd = [
        in_background(speech, client, TEXT, response_format="pcm", seed=seed)
        for seed in (*range(100, 100 + CROWD), 7)
    ]
    sounds = [asked.result(120) for asked in crowd]
    assert sounds[-1] == alone
    assert len(set(sounds)) == CROWD + 1


def test_a_seed_that_nobody_asked_for_is_told(client: httpx.Client) -> None:
    body = speech_body("Hello you.", response_format="pcm", seed=None)
    first, second = (client.post(SPEECH, json=body) for _ in range(2))
    assert first.content != second.content
    seed = int(first.headers["x-onebox-seed"])
    assert speech(client, "Hello you.", response_format="pcm", seed=seed) == first.content


def test_the_native_route_gives_json_the_file_and_events(client: httpx.Client) -> None:
    path, body = "/v1/tasks/speech", {"model": "tiny", "input": TEXT, "seed": 7}
    told = client.post(path, json={**body, "response_format": "wav"}).json()
    (output,) = told["outputs"]
    assert output["seed"] == 7
    answer = client.post(
        path, json={**body, "response_format": "wav"}, headers={"Accept": "audio/wav"}
    )
    assert answer.headers["content-type"] == "audio/wav"
    # The same sound as streamed, after a header that knows its length.
    assert answer.content[44:] == speech(client, TEXT, response_format="wav")[44:]
    with wave.open(io.BytesIO(answer.content)) as file:
        assert file.getnframes() * 2 == len(answer.content) - 44
        assert file.getnframes() / 16_000 == pytest.approx(output["duration"], abs=0.001)
    with client.stream("POST", path, json={**body, "stream": True}, headers=EVENTS) as stream:
        events = list(events_of(stream.iter_lines()))
    assert events[-1].name == "result"
    steps = [event.data for event in events if event.name == "progress"]
    assert (steps[-1]["step"], steps[-1]["steps"]) == (3, 3)


def test_speecht5_speaks_through_the_same_routes(client: httpx.Client) -> None:
    anna, ben = (
        speech(client, "Hello there.", model="t5", voice=voice, response_format="wav")
        for voice in ("anna", "ben")
    )
    assert anna != ben
    assert seconds_of(anna, "wav") > 0.1


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_any_text_is_spoken_or_refused(client: httpx.Client, text: str) -> None:
    body = speech_body(text, speed=4, response_format="pcm")
    content = json.dumps(body).replace("\\\\ud800", "\\ud800")
    answer = client.post(SPEECH, content=content, headers={"Content-Type": "application/json"})
    if answer.status_code == 200:
        assert seconds_of(answer.content, "pcm") > 0
    else:
        told = error_of(answer)
        assert (told["status"], told["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": "... !? 😀"}, "input"),
        ({"input": "你好"}, "input"),
        ({"input": "a" * 4097}, "input"),
        ({"input": ["a"]}, "input"),
        ({"input": "½" * 4096}, "input"),
        ({"speed": 0}, "speed"),
        ({"speed": -1}, "speed"),
        ({"speed": 1e300}, "speed"),
        ({"speed": math.nan}, None),
        ({"speed": math.inf}, None),
        ({"speed": "fast"}, "speed"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"timeout_s": -1}, "timeout_s"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"response_format": "exe"}, "response_format"),
        ({"voice": {"id": "a", "b": 1}}, "voice"),
        ({"voice": ["amy"]}, "voice"),
        ({"voice": "\0"}, "voice"),
        ({"pitch": 2}, "pitch"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_first_byte(
    client: httpx.Client, fields: dict[str, Any], param: str | None, stream_format: str
) -> None:
    body = json.dumps(speech_body("Hello.", stream_format=stream_format) | fields)
    answer = client.post(SPEECH, content=body, headers={"Content-Type": "application/json"})
    told = error_of(answer)
    assert (told["status"], told["type"]) == (400, "invalid_request_error")
    assert param is None or told["param"] == param


@pytest.mark.parametrize(("model", "status"), [("nobody", 404), ("mute", 400)])
def test_a_model_that_cannot_speak_has_its_own_error(
    client: httpx.Client, model: str, status: int
) -> None:
    assert error_of(client.post(SPEECH, json=speech_body("Hi.", model=model)))["status"] == status
