"""Speech of known text and other sound, as files and forms, and what a server makes of them."""

from __future__ import annotations

import contextlib
import http.client
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import av
import httpx
import numpy as np
import psutil

from tests.audio.sounds import KINDS, RATE, encoded, wav
from tests.support.server import API_KEY, ROOT, Server

TRANSCRIPTIONS = "/v1/audio/transcriptions"
TRANSLATIONS = "/v1/audio/translations"
LIVE = "/v1/audio/transcriptions/live"
JFK = ROOT / "tests" / "data" / "jfk.flac"
TEXT = (
    "And so, my fellow Americans, ask not what your country can do for you, "
    "ask what you can do for your country."
)
BOUNDARY = "a-boundary"


def words(text: str) -> list[str]:
    """Without case and punctuation, which a model takes freely."""
    return re.findall(r"[a-z']+", text.lower())


@cache
def speech(rate: int = RATE) -> np.ndarray:
    """The known text: int16 [n], 11 seconds, mono."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    with av.open(JFK) as file:
        frames = [made for frame in file.decode(audio=0) for made in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


@cache
def speech_file(kind: str) -> bytes:
    """The known text as one of KINDS."""
    container, codec, rate, channels, more = KINDS[kind]
    signal = np.repeat(speech(rate)[None] / np.float32(32768), channels, 0)
    return encoded(container, codec, signal.astype(np.float32), rate, **more)


def joined(times: int, pauses_s: Sequence[float] = (0.4, 1.5, 3.0, 8.0)) -> bytes:
    """The known text so many times, with pauses of faint noise, as a wav file."""
    chance = np.random.default_rng(0)
    parts = []
    for place in range(times):
        length = int(pauses_s[place % len(pauses_s)] * RATE)
        parts += [speech(), (chance.normal(size=length) * 10).astype(np.int16)]
    return wav(np.concatenate(parts))


def sound_file(signal: np.ndarray) -> bytes:
    """A signal between -1 and 1 as a wav file."""
    return wav((np.clip(signal, -1, 1) * 32767).astype(np.int16))


def post(client: httpx.Client, file: bytes, path: str = TRANSCRIPTIONS, **fields: Any) -> Any:
    """The answer to a form."""
    headers = fields.pop("headers", None)
    return client.post(path, files={"file": ("a", file)}, data=fields, headers=headers)


def told(client: httpx.Client, file: bytes, **fields: Any) -> dict[str, Any]:
    """The answer, which is verbose."""
    answer = post(client, file, response_format="verbose_json", **fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def decoders(server: Server) -> list[psutil.Process]:
    """The processes that decode now, and the one that waits for the next file."""
    found = psutil.Process(server.process.pid).children(recursive=True)
    return [process for process in found if _is_decoder(process)]


def _is_decoder(process: psutil.Process) -> bool:
    try:
        return any(part.endswith("child.py") for part in process.cmdline())
    except psutil.Error:
        return False


def form(file: bytes, **fields: str) -> bytes:
    """The body of a form with the boundary BOUNDARY."""
    lines = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    return "".join(lines).encode() + head.encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()


@contextlib.contextmanager
def nobody_reads(
    server: Server, body: bytes, request_id: str, *, length: int | None = None
) -> Iterator[http.client.HTTPConnection]:
    """A form whose answer is not read; the connection is closed at the end of the body.

    Args:
        length: that is promised; the body may be shorter.
    """
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    headers = {
        "Authorization": f"Bearer {API_KEY}",
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(len(body) if length is None else length),
        "X-Request-ID": request_id,
    }
    connection.request("POST", TRANSCRIPTIONS, body, headers)
    try:
        yield connection
    finally:
        connection.close()
