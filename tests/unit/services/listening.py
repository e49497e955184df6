"""Live sessions over a model that hears what a test scripts. Sound is counted, never timed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec

from onebox.core.results import Artifact, Timing
from onebox.services.access.caller import Caller
from onebox.services.live_transcription import LiveOptions, LiveTranscription
from onebox.services.request import Outcome

RATE = 16_000
CALLER = Caller("key:a", frozenset({"infer"}))


def seconds(count: float, value: int = 1) -> bytes:
    return bytes([value, 0]) * round(count * RATE)


def said(*phrases: tuple[float, float, str], speech_end: float | None = None) -> dict[str, Any]:
    return {
        "text": "".join(text for _, _, text in phrases),
        "language": "en",
        "segments": [{"start": a, "end": b, "text": text} for a, b, text in phrases],
        "speech_end": speech_end if speech_end is not None or not phrases else phrases[-1][1],
    }


SILENCE = said()


class Ears:
    """In place of the inference service. `hears` gives a result or an error for each length."""

    def __init__(self, hears: Callable[[float], dict[str, Any] | Exception]) -> None:
        self.hears = hears
        self.inputs: list[Any] = []
        self.options: list[Any] = []
        self.at_once = self.most_at_once = self.cancelled = 0
        # While it is not set, nobody gets an answer.
        self.open = asyncio.Event()
        self.open.set()

    async def prepare(self, task: str, given: Any, *, model: Any, caller: Any, options: Any) -> Any:
        assert (task, caller) == ("transcription", CALLER)
        self.options.append(options)
        entry = SimpleNamespace(name=model)
        return SimpleNamespace(input=given, entry=entry, check=lambda: None)

    async def run(self, prepared: Any) -> Outcome:
        self.inputs.append(prepared.input)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1
        heard = self.hears(len(prepared.input.file.data) / 2 / RATE)
        if isinstance(heard, Exception):
            raise heard
        return Outcome(
            prepared, (Artifact("application/json", msgspec.json.encode(heard)),), Timing()
        )

    @property
    def lengths(self) -> list[float]:
        return [len(given.file.data) / 2 / RATE for given in self.inputs]


def session(ears: Ears, **options: Any) -> tuple[LiveTranscription, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    return LiveTranscription(ears, LiveOptions(**options), CALLER, send), told


async def settle() -> None:
    """Let all that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def talk(ears: Ears, *sounds: bytes, **options: Any) -> list[dict[str, Any]]:
    """What a session says to some sounds, one after the other, and to its end."""
    live, told = session(ears, **options)
    running = asyncio.ensure_future(live.run())
    for sound in sounds:
        await live.feed(sound)
        await settle()
    live.finish()
    await running
    return told


def kinds(told: list[dict[str, Any]]) -> list[str]:
    return [message["type"].removeprefix("transcript.") for message in told]
