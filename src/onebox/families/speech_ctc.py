"""Family `speech_ctc`: models that name a letter for each frame of sound (wav2vec 2.0, HuBERT)."""

from __future__ import annotations

from onebox.audio.transcription.bundle import TranscriberBundle
from onebox.audio.transcription.checkpoints import (
    require_speech_model,
    weight_bytes,
    window_facts,
)
from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.language.checkpoints.checkpoint_files import class_name

CLASS_ENDING = "ForCTC"


class SpeechCTC(Family):
    name = "speech_ctc"
    engine = "piecewise"
    tasks = frozenset({"transcription"})

    def matches(self, on_disk: OnDisk) -> Match | None:
        kind = class_name(on_disk)
        if kind is None or not kind.endswith(CLASS_ENDING):
            return None
        require_speech_model(on_disk)
        # It always says the same, so there is no sense in asking again.
        facts = {"languages": [], "translates": False, "words": True, "retries": False}
        return Match(kind, facts | window_facts(on_disk))

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return weight_bytes(on_disk, device)

    def load(self, entry: Entry, device: Device) -> Bundle:
        from onebox.audio.transcription.ctc import CtcTranscriber
        from onebox.audio.transcription.loading import load_speech_model

        return TranscriberBundle(CtcTranscriber(load_speech_model(entry, device, "ctc")))

    def warm_up(self) -> None:
        from transformers import AutoFeatureExtractor, AutoModelForCTC  # noqa: F401


FAMILIES.register(SpeechCTC.name, SpeechCTC())
