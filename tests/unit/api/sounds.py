"""Forms with sound, what the task `transcription` answers, and OpenAI's clients for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import httpx2
import openai
from fastapi import FastAPI

from onebox.bootstrap import Services
from tests.unit.api.asking import ADMIN, Answer, ask
from tests.unit.api.texts import Texts, app_with

TRANSCRIPTIONS = "/v1/audio/transcriptions"
TRANSLATIONS = "/v1/audio/translations"
WAV = b"RIFF\x24\x00\x00\x00WAVE"
FILE = ("speech.wav", WAV, "audio/wav")
BOUNDARY = "a-boundary"
TOKENS = [{"token": " Hi", "bytes": [32, 72, 105], "logprob": -0.5}]

# A field of a form: its text, or the name, the content and the type of a file.
Part = str | tuple[str, bytes, str]


def segment(index: int, start: float, end: float, text: str) -> dict[str, Any]:
    return {
        "id": index,
        "seek": 0,
        "start": start,
        "end": end,
        "text": text,
        "tokens": [1, 2],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": 1.1,
        "no_speech_prob": 0.01,
    }


SEGMENTS = [segment(0, 0.0, 1.5, "Hi there."), segment(1, 2.0, 3, " Go & see.")]
WORDS = [{"word": "Hi", "start": 0.0, "end": 0.4}]


def transcript(**facts: Any) -> dict[str, Any]:
    given = {
        "text": "Hi there. Go & see.",
        "language": "en",
        # A whole number, as an encoder may write it.
        "duration": 4,
        "segments": SEGMENTS,
        "words": None,
        "logprobs": None,
        "speech_end": 3.0,
    }
    return {**given, **facts}


def delta(part: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return {"text": part["text"], "segment": part, **facts}


def hearing(**facts: Any) -> Texts:
    """An inference service that hears the same whatever it gets."""
    return Texts(transcript(**facts), [delta(part) for part in SEGMENTS])


def form(parts: Iterable[tuple[str, Part]]) -> tuple[dict[str, str], bytes]:
    """Headers and body, as curl makes them."""
    body = b""
    for name, part in parts:
        text, more = part, ""
        if isinstance(part, tuple):
            text, more = part[1], f'; filename="{part[0]}"\r\nContent-Type: {part[2]}'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
        content = text.encode() if isinstance(text, str) else text
        body += head.encode() + content + b"\r\n"
    body += f"--{BOUNDARY}--\r\n".encode()
    return {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}, body


def send(
    services: Services, path: str, parts: Iterable[tuple[str, Part]], texts: Texts | None = None
) -> tuple[Answer, Texts]:
    texts = texts or hearing()
    headers, body = form(parts)
    return ask(app_with(services, texts), "POST", path, {**ADMIN, **headers}, body), texts


def transcribe(
    services: Services, *parts: tuple[str, Part], texts: Texts | None = None
) -> tuple[Answer, Texts]:
    return send(services, TRANSCRIPTIONS, [("file", FILE), *parts], texts)


class InProcess(httpx2.BaseTransport):
    """For a client without a loop."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {name.decode().lower(): text.decode() for name, text in request.headers.raw}
        answer = ask(self._app, request.method, request.url.path, headers, request.read())
        return httpx2.Response(answer.status, headers=answer.headers, content=answer.body)


def sync_client(services: Services, texts: Texts) -> openai.OpenAI:
    return openai.OpenAI(
        base_url="http://testserver/v1",
        api_key="user-key",
        max_retries=0,
        http_client=httpx2.Client(transport=InProcess(app_with(services, texts))),
    )


async def collect(stream: Any) -> list[Any]:
    async with asyncio.timeout(60):
        return [item async for item in stream]
