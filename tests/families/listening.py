"""What tests of families that hear share: loading, asking, a context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onebox.audio.transcription.bundle import TranscriberBundle
from onebox.audio.transcription.contracts import Heard, Listen
from onebox.core.contracts import Family
from tests.families.languages import device, entry
from tests.families.tiny_listeners import noise


class Context:
    """Counts the times that the model asks to go on; `stop` is raised at the last of `left`."""

    def __init__(self, left: int = 10**9, stop: Exception | None = None) -> None:
        self.count = 0
        self._left = left
        self._stop = stop

    def hand_over(self) -> None:
        self.count += 1
        if self._stop is not None and self.count >= self._left:
            raise self._stop


def load(family: Family, path: Path, dtype: Any = "float32", **overrides: Any) -> TranscriberBundle:
    bundle = family.load(entry(path, family, **overrides), device(dtype))
    assert isinstance(bundle, TranscriberBundle)
    return bundle


def hear(bundle: TranscriberBundle, *windows: Listen, context: Any = None) -> list[Heard]:
    results = bundle.transcriber.transcribe(windows, context or Context())
    assert all(isinstance(heard, Heard) for heard in results)
    return results  # type: ignore[return-value]


def listen(seconds: float = 2.0, sound: int = 0, **changes: Any) -> Listen:
    """`sound`: which of all noises it is."""
    return Listen(noise(seconds, sound), **changes)


def text_of(heard: Heard) -> str:
    return "".join(segment.text for segment in heard.segments)
