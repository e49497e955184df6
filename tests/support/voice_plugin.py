"""A voice without weights, which says what it has spoken and waits where it is told to.

Loaded by the server under test through ONEBOX_PLUGINS. A sentence that begins with "wait" is spoken
once the file `go` is in the checkpoint's folder, and puts `waits` there meanwhile; each one that is
spoken is a line in `spoken`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onebox.core.contracts import Bundle, Device, Entry, Family, RunContext
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES

MODEL_TYPE = "onebox-test-voice"
RATE = 16_000
SENTENCE_S = 0.5


def gated_voice(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True)
    header = json.dumps({"__metadata__": {"name": name}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (folder / "config.json").write_text(json.dumps({"model_type": MODEL_TYPE}))
    (folder / "spoken").touch()
    return folder


def spoken(folder: Path) -> list[str]:
    return (folder / "spoken").read_text().splitlines()


def waits(folder: Path) -> bool:
    return (folder / "waits").exists()


def let_go(folder: Path) -> None:
    (folder / "go").touch()


class GatedVoice:
    size_bytes = 1000
    sampling_rate = RATE

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def synthesize(self, sentences: Sequence[Any], context: RunContext) -> list[Any]:
        import numpy as np

        for sentence in sentences:
            context.hand_over()
            while sentence.text.startswith("wait") and not (self._folder / "go").exists():
                context.hand_over()
                (self._folder / "waits").touch()
                time.sleep(0.01)
            with (self._folder / "spoken").open("a") as file:
                file.write(f"{sentence.text}\n")
        samples = round(SENTENCE_S * RATE)
        return [np.full(samples, 0.1, np.float32) for _ in sentences]

    def close(self) -> None:
        pass


class GatedBundle:
    def __init__(self, folder: Path) -> None:
        self.synthesizer = GatedVoice(folder)
        self.size_bytes = 1000

    def close(self) -> None:
        pass


class GatedFamily(Family):
    name = "test-voice"
    engine = "piecewise"
    tasks = frozenset({"speech"})

    def matches(self, on_disk: OnDisk) -> Match | None:
        if not on_disk.is_folder or "config.json" not in on_disk.files:
            return None
        if on_disk.read_json("config.json").get("model_type") != MODEL_TYPE:
            return None
        voices: list[Mapping[str, str]] = [{"id": "gate", "name": "gate", "language": "en"}]
        facts = {"sampling_rate": RATE, "voices": voices, "language": "en"}
        return Match("Gate", facts | {"phonemes": None, "symbols": None})

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return 1000

    def load(self, entry: Entry, device: Device) -> Bundle:
        return GatedBundle(Path(entry.path))


FAMILIES.register(GatedFamily.name, GatedFamily())
