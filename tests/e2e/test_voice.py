"""The starter voice with its real weights: what it was converted to, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onebox.families.speech_synthesis import VoiceBundle
from onebox.registry.on_disk import open_on_disk
from onebox.starter.catalogue import JOE, WHISPER
from tests.families.voices import FAMILY, load_voice, one, say
from tests.support.starter import voice_folder, whisper_folder

FOX = "ðə kwˈɪk bɹˈaʊn fˈɑːks dʒˈʌmps ˌoʊvɚ ðə lˈeɪzi dˈɑːɡ."  # noqa: RUF001


@pytest.fixture(scope="module")
def folder() -> Path:
    return voice_folder() / JOE.folder


@pytest.fixture(scope="module")
def voice(folder: Path) -> VoiceBundle:
    return load_voice(folder)


def test_it_says_what_it_speaks_and_what_it_reads(folder: Path) -> None:
    match = FAMILY.matches(open_on_disk(folder))
    assert match is not None
    facts = dict(match.facts)
    symbols = facts.pop("symbols")
    assert facts == {
        "sampling_rate": 22_050,
        "voices": [{"id": "joe", "name": "joe", "language": "en"}],
        "language": "en",
        "phonemes": "espeak",
    }
    assert set(FOX) <= set(symbols)
    assert not set("_^$") & set(symbols)


def test_plain_transformers_loads_all_of_it_and_gives_the_same(
    folder: Path, voice: VoiceBundle
) -> None:
    import torch
    from transformers import AutoTokenizer, VitsModel

    from onebox.audio.synthesis.seeded import seeded

    model, info = VitsModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    inputs = AutoTokenizer.from_pretrained(folder)(FOX, return_tensors="pt")
    with torch.inference_mode(), seeded(4):
        wanted = model.eval()(**inputs).waveform[0].numpy()
    samples = one(voice, say(FOX, "joe", seed=4))
    assert np.abs(wanted).max() > 0.1
    assert np.abs(samples - wanted).max() < 1e-4


def test_what_only_transformers_needs_is_not_kept(folder: Path, voice: VoiceBundle) -> None:
    assert voice.size_bytes < 0.75 * (folder / "model.safetensors").stat().st_size


@pytest.mark.parametrize("speed", [0.7, 1, 1.5])
def test_whisper_understands_it(voice: VoiceBundle, speed: float) -> None:
    samples = one(voice, say(FOX, "joe", speed))
    assert heard(samples, 22_050) == "the quick brown fox jumps over the lazy dog"


def heard(samples: Any, rate: int) -> str:
    """The words that Whisper hears."""
    import torch
    from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

    folder = whisper_folder() / WHISPER.folder
    places = np.arange(len(samples) * 16_000 // rate) * rate / 16_000
    sound = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
    listen = WhisperFeatureExtractor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    features = listen(sound, sampling_rate=16_000, return_tensors="pt").input_features
    (tokens,) = model.generate(input_features=features)
    text = AutoTokenizer.from_pretrained(folder).decode(tokens, skip_special_tokens=True)
    return "".join(char for char in text.lower() if char.isalpha() or char == " ").strip()
