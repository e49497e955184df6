"""An app whose live sessions hear what a test scripts."""

from __future__ import annotations

import asyncio
import dataclasses
from types import SimpleNamespace
from typing import Any

import msgspec
from fastapi import FastAPI

from onebox.api.app import create_app
from onebox.bootstrap import Services
from onebox.core.results import Artifact, Timing
from onebox.services.live_sessions import LiveSessions
from onebox.services.request import Outcome

SECOND = bytes(32_000)
HEARD = {
    "text": "Hi.",
    "language": "en",
    "segments": [{"start": 0.0, "end": 0.1, "text": "Hi."}],
    "speech_end": 0.1,
}


class Ears:
    """In place of the inference service. Nobody gets an answer while `open` is not set."""

    def __init__(self, failure: Exception | None = None, refusal: Exception | None = None) -> None:
        self.failure = failure
        self.refusal = refusal
        self.inputs: list[Any] = []
        self.models: list[str | None] = []
        self.cancelled = 0
        self.began = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def prepare(self, task: str, given: Any, *, model: Any, caller: Any, options: Any) -> Any:
        if self.refusal:
            raise self.refusal
        self.models.append(model)
        return SimpleNamespace(input=given, entry=SimpleNamespace(name="tiny"), check=lambda: None)

    async def run(self, prepared: Any) -> Outcome:
        self.inputs.append(prepared.input)
        self.began.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure:
            raise self.failure
        return Outcome(
            prepared, (Artifact("application/json", msgspec.json.encode(HEARD)),), Timing()
        )


class Relay:
    ears: Ears

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ears, name)


def live_app(services: Services) -> FastAPI:
    """Two sessions a caller, and a page that is let in."""
    settings = services.settings.model_copy(update={"cors_origins": ("https://let.in",)})
    sessions = LiveSessions(max_per_caller=2)
    return create_app(
        dataclasses.replace(services, inference=Relay(), live=sessions, settings=settings)
    )


def hearing(app: FastAPI, **script: Exception) -> Ears:
    relay = app.state.services.inference
    relay.ears = Ears(**script)
    return relay.ears
