"""Bark, tiny and random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onebox.core.errors import InvalidInput
from onebox.families.speech_synthesis import VoiceBundle
from onebox.registry.on_disk import open_on_disk
from tests.families import tiny_voices as tiny
from tests.families.voices import FAMILY, Context, load_voice, one, say, spoken

VOICE = "v2/de_speaker_1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.bark(tmp_path_factory.mktemp("voices") / "bark")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> VoiceBundle:
    return load_voice(folder)


def test_it_lists_the_speakers_whose_files_are_all_there(folder: Path) -> None:
    match = FAMILY.matches(open_on_disk(folder))
    assert match is not None
    assert match.facts == {
        "sampling_rate": 24_000,
        "voices": [{"id": VOICE, "name": VOICE, "language": "de"}],
        "language": "",
        "phonemes": None,
        "symbols": None,
    }


def test_equal_seeds_give_equal_samples(bundle: VoiceBundle) -> None:
    context = Context()
    first, again, other = (
        spoken(bundle, say("hello", VOICE, seed=seed), context=context)[0] for seed in (1, 1, 2)
    )
    assert first.ndim == 1
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)
    assert context.handed_over > 10


def test_a_text_longer_than_its_window_is_refused_and_not_cut(bundle: VoiceBundle) -> None:
    (refusal,) = spoken(bundle, say("a" * 257, VOICE))
    assert isinstance(refusal, InvalidInput)


def test_twice_the_speed_takes_half_the_time(bundle: VoiceBundle) -> None:
    usual, fast = (len(one(bundle, say("hello", VOICE, speed))) for speed in (1, 2))
    assert 1.7 < usual / fast < 2.3
