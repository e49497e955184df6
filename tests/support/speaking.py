"""Asking a server under test to speak, and what the sound is."""

from __future__ import annotations

import io
from typing import Any

import httpx

SPEECH = "/v1/audio/speech"
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
PCM_RATE = 24_000


def speech_body(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "voice": "default", "input": text, "seed": 7, **fields}


def speech(client: httpx.Client, text: str, **fields: Any) -> bytes:
    answer = client.post(SPEECH, json=speech_body(text, **fields))
    assert answer.status_code == 200, answer.text
    return answer.content


def seconds_of(data: bytes, sound: str) -> float:
    """By decoding all of it."""
    import av

    if sound == "pcm":
        return len(data) / 2 / PCM_RATE
    with av.open(io.BytesIO(data)) as file:
        frames = list(file.decode(audio=0))
        return sum(frame.samples for frame in frames) / frames[0].sample_rate
