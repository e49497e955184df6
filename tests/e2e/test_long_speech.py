"""Long recordings, and those without a word, with Whisper's real weights."""

from __future__ import annotations

from itertools import pairwise

import httpx
import numpy as np
import pytest

from tests.audio.sounds import RATE
from tests.support.asking import events_of, running_requests
from tests.support.ends import wait_until_ready
from tests.support.listening import (
    JFK,
    TEXT,
    TRANSCRIPTIONS,
    joined,
    sound_file,
    told,
    words,
)
from tests.support.server import Server

OVERTONES = range(1, 6)

TIMES = 12
MANY = 30
CHANCE = np.random.default_rng(3)


def of_many_rounds() -> bytes:
    """More windows than three rounds of the engine have: much is left after the first words."""
    return joined(MANY, pauses_s=(2.5,))


def test_all_of_a_long_recording_is_found_once_and_in_order(listener: httpx.Client) -> None:
    found = told(listener, joined(TIMES), **{"timestamp_granularities[]": ["word", "segment"]})
    assert words(found["text"]) == words(TEXT) * TIMES
    for kind in ("segments", "words"):
        spans = [(one["start"], one["end"]) for one in found[kind]]
        assert all(0 <= start <= end <= found["duration"] for start, end in spans)
        assert all(one[1] <= after[0] for one, after in pairwise(spans))
    assert [segment["id"] for segment in found["segments"]] == list(range(len(found["segments"])))


def test_a_short_one_that_comes_later_ends_before_a_long_one(listener: httpx.Client) -> None:
    file = {"file": ("a.wav", of_many_rounds())}
    data = {"model": "whisper-1", "stream": "true"}
    named = {"X-Request-ID": "the-long-one"}
    with listener.stream("POST", TRANSCRIPTIONS, files=file, data=data, headers=named) as answer:
        events = events_of(answer.iter_lines())
        assert next(events).name == "transcript.text.delta"
        assert words(told(listener, JFK.read_bytes())["text"]) == words(TEXT)
        assert "the-long-one" in running_requests(listener)
        told_last = list(events)[-1]
    assert words(told_last.data["text"]) == words(TEXT) * MANY


def test_a_worker_that_dies_ends_a_stream_with_an_error(
    listening_server: Server, listener: httpx.Client
) -> None:
    file = {"file": ("a.wav", of_many_rounds())}
    data = {"model": "whisper-1", "stream": "true"}
    with listener.stream("POST", TRANSCRIPTIONS, files=file, data=data) as answer:
        events = events_of(answer.iter_lines())
        assert next(events).name == "transcript.text.delta"
        listening_server.worker().kill()
        last = list(events)[-1]
    assert (last.name, last.data["error"]["code"]) == ("error", "worker_lost")
    wait_until_ready(listener)


def seconds(count: float) -> np.ndarray:
    return np.arange(int(count * RATE)) / RATE


def tone(hertz: float, count: float = 12) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * hertz * seconds(count))


def noise(loudness: float, count: float = 12) -> np.ndarray:
    return CHANCE.normal(size=int(count * RATE)) * loudness


def clicks(per_second: float, count: float = 12) -> np.ndarray:
    signal = np.zeros(int(count * RATE))
    signal[:: int(RATE / per_second)] = 0.9
    return signal


def chords() -> np.ndarray:
    """Four of them, again and again, struck and fading."""
    keys = [(261.6, 329.6, 392.0), (220.0, 261.6, 329.6), (174.6, 220.0, 261.6)]
    time = seconds(1)
    struck = [
        np.exp(-2 * time)
        * sum(np.sin(2 * np.pi * n * f * time) / n**1.5 for f in key for n in OVERTONES)
        for key in keys
    ]
    return 0.1 * np.concatenate(struck * 6)


WORDLESS = {
    "silence": lambda: np.zeros(20 * RATE),
    "three minutes of almost nothing": lambda: noise(0.0005, 180),
    "a click every seven seconds": lambda: noise(0.0005, 60) + clicks(1 / 7, 60),
    "white noise": lambda: noise(0.1),
    "loud noise": lambda: noise(0.5),
    "bursts of noise": lambda: noise(0.2) * np.sin(2 * np.pi * 4 * seconds(12)) ** 2,
    "a low tone": lambda: tone(110),
    "a high tone": lambda: tone(1000),
    "a rising tone": lambda: 0.4 * np.sin(2 * np.pi * (100 + 60 * seconds(20)) * seconds(20)),
    "a siren": lambda: (
        0.4 * np.sin(2 * np.pi * 600 * seconds(12) + 95 * np.sin(np.pi * seconds(12)))
    ),
    "chords": chords,
    "clicks": lambda: clicks(2),
    "hum": lambda: tone(50, 20) * 0.2 + noise(0.02, 20),
}


@pytest.mark.parametrize("sound", WORDLESS)
def test_where_nobody_speaks_there_is_no_text(listener: httpx.Client, sound: str) -> None:
    signal = WORDLESS[sound]()
    found = told(listener, sound_file(signal))
    assert (found["text"], found["segments"]) == ("", [])
    assert found["duration"] == pytest.approx(len(signal) / RATE)
    assert found["language"] == "english"
