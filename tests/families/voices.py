"""What tests of voices share: loading one, and speaking with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from onebox.audio.synthesis.contracts import Say
from onebox.families.speech_synthesis import SpeechSynthesis, VoiceBundle
from onebox.registry.on_disk import open_on_disk
from tests.families.languages import device, entry

FAMILY = SpeechSynthesis()


class Context:
    """Counts how often the device is handed over, and can end a run at one of those times."""

    def __init__(self, ends_at: int | None = None, error: Exception | None = None) -> None:
        self.handed_over = 0
        self._ends_at = ends_at
        self._error = error

    def hand_over(self) -> None:
        self.handed_over += 1
        if self._error is not None and self.handed_over == self._ends_at:
            raise self._error


def load_voice(path: Path) -> VoiceBundle:
    match = FAMILY.matches(open_on_disk(path))
    assert match is not None
    known = msgspec.structs.replace(entry(path, FAMILY), kind=match.kind)
    bundle = FAMILY.load(known, device())
    assert isinstance(bundle, VoiceBundle)
    return bundle


def say(
    text: str = "the quick brown fox", voice: str = "default", speed: float = 1.0, seed: int = 1
) -> Say:
    return Say(text, voice, speed, seed)


def spoken(bundle: VoiceBundle, *sentences: Say, context: Any = None) -> list[Any]:
    return bundle.synthesizer.synthesize(sentences, context or Context())


def one(bundle: VoiceBundle, sentence: Say) -> Any:
    """The samples of a sentence that can be spoken."""
    (samples,) = spoken(bundle, sentence)
    assert not isinstance(samples, Exception), samples
    return samples
