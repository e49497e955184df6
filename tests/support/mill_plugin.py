"""A family, a task and a voice whose results are long, and a function of what was asked for.

Loaded by the server under test through ONEBOX_PLUGINS, after `dummy_plugin`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from onebox.core.contracts import Bundle, Device, Entry, Family, RunContext, Task, TaskDefaults
from onebox.core.media import MediaRef
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES, TASKS
from onebox.core.results import Output
from onebox.core.seeds import random_seed
from tests.support.dummy_plugin import dummy_checkpoint

PLUGINS = {"ONEBOX_PLUGINS": "tests.support.dummy_plugin,tests.support.mill_plugin"}
VOICE = "onebox-mill-voice"
RATE = 16_000
SENTENCE_S = 0.25
# More than goes through the pipe in one piece.
RESULT_BYTES = 100_000


def mill_voice(folder: Path) -> Path:
    """Write a checkpoint that speaks: each text as a sound of its own loudness."""
    return dummy_checkpoint(folder, model_type=VOICE)


def milled(text: str, seed: int, data: bytes = b"") -> bytes:
    """What the task `mill` gives."""
    return hashlib.shake_256(b"%d %b %b" % (seed, text.encode(), data)).digest(RESULT_BYTES)


class MillInput(BaseModel):
    text: str
    data: MediaRef | None = None
    seed: int | None = None
    steps: int = 1
    step_s: float = 0.0


class Mill(Task[MillInput]):
    name = "mill"
    summary = "Mill text and bytes"
    Input = MillInput
    families = frozenset({"dummy"})

    def resolve(self, request: MillInput, entry: Entry, defaults: TaskDefaults) -> MillInput:
        seed = random_seed() if request.seed is None else request.seed
        return request.model_copy(update={"seed": seed})

    def run(self, bundle: Any, request: MillInput, context: RunContext) -> list[Output]:
        for step in range(request.steps):
            time.sleep(request.step_s)
            context.step(step + 1, request.steps)
        assert request.seed is not None
        data = b"" if request.data is None else context.read(request.data)
        result = milled(request.text, request.seed, data)
        return [Output("bytes", result, {"media_type": "application/x-dummy"})]


class MillVoice:
    size_bytes = 1000
    sampling_rate = RATE

    def synthesize(self, sentences: Sequence[Any], context: RunContext) -> list[Any]:
        import numpy as np

        samples = round(SENTENCE_S * RATE)
        digests = [hashlib.sha256(sentence.text.encode()).digest() for sentence in sentences]
        return [np.full(samples, digest[0] / 256, np.float32) for digest in digests]

    def close(self) -> None:
        pass


class MillVoiceBundle:
    size_bytes = 1000

    def __init__(self) -> None:
        self.synthesizer = MillVoice()

    def close(self) -> None:
        pass


class MillVoiceFamily(Family):
    name = "mill-voice"
    engine = "piecewise"
    tasks = frozenset({"speech"})

    def matches(self, on_disk: OnDisk) -> Match | None:
        if not on_disk.is_folder or "config.json" not in on_disk.files:
            return None
        if on_disk.read_json("config.json").get("model_type") != VOICE:
            return None
        voices: list[Mapping[str, str]] = [{"id": "mill", "name": "mill", "language": "en"}]
        facts = {"sampling_rate": RATE, "voices": voices, "language": "en"}
        return Match("Mill", facts | {"phonemes": None, "symbols": None})

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return 1000

    def load(self, entry: Entry, device: Device) -> Bundle:
        return MillVoiceBundle()


FAMILIES.register(MillVoiceFamily.name, MillVoiceFamily())
TASKS.register(Mill.name, Mill())
