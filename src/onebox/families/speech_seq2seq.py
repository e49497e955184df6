"""Family `speech_seq2seq`: models that read sound and write its text; all but Whisper."""

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

# Those of transformers' speech-to-text classes that need nothing but sound to write its text.
CLASSES = frozenset(
    {
        "MoonshineForConditionalGeneration",
        "Speech2TextForConditionalGeneration",
        "SpeechEncoderDecoderModel",
    }
)


class SpeechSeq2Seq(Family):
    name = "speech_seq2seq"
    engine = "piecewise"
    tasks = frozenset({"transcription"})

    def matches(self, on_disk: OnDisk) -> Match | None:
        kind = class_name(on_disk)
        if kind not in CLASSES:
            return None
        require_speech_model(on_disk)
        facts = {"languages": [], "translates": False, "words": False, "timestamps": False}
        return Match(kind, facts | window_facts(on_disk))

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return weight_bytes(on_disk, device)

    def load(self, entry: Entry, device: Device) -> Bundle:
        from onebox.audio.transcription.loading import load_speech_model
        from onebox.audio.transcription.seq2seq import Seq2SeqTranscriber

        return TranscriberBundle(Seq2SeqTranscriber(load_speech_model(entry, device, "seq2seq")))

    def warm_up(self) -> None:
        from transformers import AutoFeatureExtractor, AutoModelForSpeechSeq2Seq  # noqa: F401


FAMILIES.register(SpeechSeq2Seq.name, SpeechSeq2Seq())
