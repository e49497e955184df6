"""Live transcription of known speech, with Whisper's real weights."""

from __future__ import annotations

import asyncio
from difflib import SequenceMatcher

import numpy as np

from tests.audio.sounds import RATE
from tests.support.listening import TEXT, speech, words
from tests.support.live import live, say, speak, text_of, until
from tests.support.server import Server

PAUSE = bytes(2 * RATE)


def is_known(text: str) -> bool:
    """Nearly the known text: a pause makes final what a whole would have changed."""
    return SequenceMatcher(None, words(text), words(TEXT), autojunk=False).ratio() > 0.8


def test_speech_becomes_partial_then_final_text(listening_server: Server) -> None:
    async def session() -> None:
        async with live(listening_server) as socket:
            (created,) = await until(socket, "session.created")
            assert created["session"]["sampling_rate"] == RATE
            samples = speech().tobytes()
            await speak(socket, samples[: 4 * RATE * 2])
            heard = await until(socket, "transcript.partial")
            assert words(heard[-1]["text"])[0] == "and"
            await speak(socket, samples[4 * RATE * 2 :] + PAUSE)
            await say(socket, "close")
            heard = await until(socket, "session.closed")
            assert is_known(text_of(heard))
            finals = [one for one in heard if one["type"] == "transcript.final"]
            times = [
                t
                for one in finals
                for part in one["segments"]
                for t in (part["start"], part["end"])
            ]
            assert times == sorted(times)
            assert times[-1] <= heard[-1]["duration"] == 12.0

    asyncio.run(session())


def test_a_commit_makes_final_what_was_said_and_the_session_goes_on(
    listening_server: Server,
) -> None:
    async def session() -> None:
        async with live(listening_server, "?partial=off") as socket:
            for _ in range(2):
                await speak(socket, speech().tobytes())
                await say(socket, "commit")
                heard = await until(socket, "transcript.committed")
                assert is_known(text_of(heard))
                assert not any(one["type"] == "transcript.partial" for one in heard)
            assert heard[-1]["end"] == 22.0

    asyncio.run(session())


def test_where_nobody_speaks_a_session_says_nothing(listening_server: Server) -> None:
    noise = (np.random.default_rng(0).normal(size=40 * RATE) * 300).astype(np.int16).tobytes()

    async def session() -> None:
        async with live(listening_server) as socket:
            await speak(socket, noise)
            await say(socket, "close")
            heard = await until(socket, "session.closed")
            kinds = ["session.created", "transcript.committed", "session.closed"]
            assert [one["type"] for one in heard] == kinds
            assert heard[-1]["duration"] == 40.0

    asyncio.run(session())


def test_many_sessions_at_once_each_have_their_own_text(listening_server: Server) -> None:
    cuts = [0, 2, 4, 6]

    async def one(cut: int) -> bool:
        async with live(listening_server, "?partial=off") as socket:
            await speak(socket, bytes(cut * RATE) + speech().tobytes())
            await say(socket, "close")
            return is_known(text_of(await until(socket, "session.closed")))

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*map(one, cuts))

    assert all(asyncio.run(all_of_them()))
