"""Uploads and forms that are too large, too long, too many, or no sound at all."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.audio.sounds import silent_opus, wav
from tests.support.ends import end_of
from tests.support.listening import (
    BOUNDARY,
    TRANSCRIPTIONS,
    decoders,
    form,
    post,
    speech,
    speech_file,
)
from tests.support.server import API_KEY, Server, running_server, wait_for
from tests.support.shelf import open_shelf
from tests.support.talking import ONE_THREAD, wait_until_idle
from tests.support.tiny_listener import listening_model

MIB = 2**20
MAX_SECONDS = 60
UNREADABLE = "the file cannot be read as sound: it is damaged, or not wav"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("listeners")
    listening_model(folder / "models" / "tiny")
    settings = {"ONEBOX_MAX_AUDIO_SECONDS": str(MAX_SECONDS), **ONE_THREAD}
    with running_server(folder / "data", folder / "models", **settings) as running:
        yield running


@pytest.fixture(autouse=True)
def the_server_goes_on(server: Server, client: httpx.Client) -> Iterator[None]:
    workers = [worker.pid for worker in server.workers()]
    yield
    assert client.get("/health").status_code == 200
    wait_until_idle(client)
    wait_for(lambda: len(decoders(server)) <= 1)
    assert [worker.pid for worker in server.workers()] == workers


def test_sound_that_lasts_too_long_is_413_in_every_form(client: httpx.Client) -> None:
    long = speech().repeat(6)
    for file in (wav(long), silent_opus(hours=0.02)):
        answer = post(client, file)
        assert answer.status_code == 413, answer.text
        error = answer.json()["error"]
        assert error["param"] == "file"
        assert error["details"]["max_seconds"] == MAX_SECONDS
    bare = client.post(TRANSCRIPTIONS, files={"file": ("a", long.tobytes(), "audio/pcm")})
    assert bare.status_code == 413, bare.text


def test_a_task_may_ask_for_less_and_not_for_more(client: httpx.Client) -> None:
    path = "/v1/tasks/transcription"
    assert post(client, speech_file("flac"), path, max_seconds=10).status_code == 413
    assert post(client, wav(speech().repeat(6)), path, max_seconds=1000).status_code == 413


def test_days_of_silence_in_a_small_file_do_not_make_the_server_grow(
    server: Server, client: httpx.Client
) -> None:
    bomb = silent_opus(hours=270)
    assert 20 * MIB < len(bomb) < 30 * MIB
    assert post(client, speech_file("flac")).status_code == 200
    before, peak, done = taken(server), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, taken(server))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        answers = [post(client, bomb) for _ in range(3)]
    finally:
        done.set()
        watcher.join()
    assert [answer.status_code for answer in answers] == [413] * 3
    assert "270" not in answers[0].text or answers[0].json()["error"]["details"]["seconds"] > 9e5
    # The upload itself lies in each of the processes for a while. Decoded it is 31 GB.
    assert peak - before < 400 * MIB
    # One decoder ends while the next comes up.
    wait_for(lambda: taken(server) - before < 150 * MIB)


def taken(server: Server) -> int:
    """Memory of the server and all its processes."""
    parent = psutil.Process(server.process.pid)
    total = 0
    for process in (parent, *parent.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def hostile(secret: Path, url: str) -> dict[str, bytes]:
    """Files that name others, and files that are none."""
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{url}\n#EXTINF:2,\n{secret}\n"
    concat = f"ffconcat version 1.0\nfile '{secret}'\nfile '{url}'\n"
    return {
        "a playlist": playlist.encode(),
        "a list": concat.encode(),
        "a playlist as wav": b"RIFF\x00\x00\x00\x00WAVE\n" + playlist.encode(),
        "a list as flac": b"fLaC" + concat.encode(),
        "a playlist as ogg": b"OggS" + playlist.encode(),
        "a session": f"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\na={url}".encode(),
        "a page": b"<html><audio src='" + url.encode() + b"'></html>",
        "an archive": b"PK\x03\x04" + bytes(4096),
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(4096),
        "half a header": b"ftypM4A "[:6],
        "a film of nothing": b"\x00\x00\x00\x18ftypmp42" + bytes(64),
        "letters": b"\xff\xfb" + b"A" * 4096,
        "zeros": bytes(100_000),
    }


def test_what_is_no_sound_is_a_400_in_plain_words_and_opens_nothing(
    client: httpx.Client, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav(speech()))
    with open_shelf() as outside:
        url = outside.put("/secret.wav", secret.read_bytes())
        for name, file in hostile(secret, url).items():
            answer = post(client, file)
            end = end_of(answer)
            assert (end.status, end.code) == (400, "invalid_value"), name
            assert end.message.startswith((UNREADABLE, "the file holds no sound")), name
            assert answer.json()["error"]["param"] == "file"
        assert outside.asked == []


def test_an_empty_file_and_none_at_all(client: httpx.Client) -> None:
    assert end_of(post(client, b"")).message == "the file is empty"
    assert client.post(TRANSCRIPTIONS, data={"model": "tiny"}, files={}).status_code == 400
    assert client.post(TRANSCRIPTIONS, json={"file": "a"}).status_code == 400


def upload(server: Server, body: bytes, **headers: str) -> int:
    """The status of a raw body that may be cut short."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    given = {"Authorization": f"Bearer {API_KEY}", "Content-Type": FORM, **headers}
    try:
        # It may be answered and closed before all of it was sent.
        with contextlib.suppress(ConnectionError):
            connection.request("POST", TRANSCRIPTIONS, body, given)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_hundred_megabytes_are_refused_before_they_are_sent(server: Server) -> None:
    assert upload(server, b"", **{"Content-Length": str(100 * MIB)}) == 413


def test_a_hundred_megabytes_of_unknown_length_are_refused_on_the_way(
    server: Server, client: httpx.Client
) -> None:
    def pieces() -> Iterator[bytes]:
        yield form(b"")[: -len(f"\r\n--{BOUNDARY}--\r\n")]
        for _ in range(100):
            yield bytes(MIB)

    answer = None
    try:
        answer = client.post(TRANSCRIPTIONS, content=pieces(), headers={"Content-Type": FORM})
    except httpx.TransportError:
        return  # It closed the connection before all was sent.
    assert answer.status_code == 413


MALFORMED = {
    "no end": form(speech_file("flac"))[:-30],
    "no boundary": b"x" * 1000,
    "only the end": f"--{BOUNDARY}--\r\n".encode(),
    "no name": f"--{BOUNDARY}\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(),
    "a name of a megabyte": form(b"x", **{"n" * MIB: "x"}),
    "a header of a megabyte": f"--{BOUNDARY}\r\nX: {'y' * MIB}\r\n\r\n".encode(),
    "headers without end": f"--{BOUNDARY}\r\n".encode() + b"X: y\r\n" * 50_000,
    "boundaries": f"--{BOUNDARY}\r\n".encode() * 50_000,
    "fields": form(b"x", **{f"field{number}": "x" for number in range(5000)}),
    "deep names": form(b"x", **{"a" + "[b]" * 3000: "x"}),
    "binary": bytes(range(256)) * 100,
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_form_that_is_none_is_a_400(server: Server, kind: str) -> None:
    assert upload(server, MALFORMED[kind]) == 400


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'b' * 70_000}",
        "multipart/form-data; boundary=\x01\x02",
        "application/x-www-form-urlencoded",
        "text/plain",
    ],
)
def test_a_type_that_is_no_form_is_a_400(server: Server, kind: str) -> None:
    status = upload(server, form(b"x"), **{"Content-Type": kind})
    assert status in (400, 431)
