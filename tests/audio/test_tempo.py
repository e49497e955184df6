"""Faster and slower at the same pitch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onebox.audio.synthesis.tempo import at_speed

RATE = 16_000


def tone(hertz: float, seconds: float = 2.0) -> Any:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype("f4")


def pitch(samples: Any) -> float:
    strength = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(strength) * RATE / len(samples))


@pytest.mark.parametrize("speed", [0.25, 0.5, 0.8, 1.25, 2, 4])
def test_the_length_changes_and_the_pitch_does_not(speed: float) -> None:
    result = at_speed(tone(220), speed, RATE)
    assert len(result) == pytest.approx(2 * RATE / speed, rel=0.05)
    assert pitch(result) == pytest.approx(220, abs=4)
    assert result.dtype == np.float32
    # No beats where the windows meet.
    middle = np.abs(result[RATE // 8 : -RATE // 8])
    loudest = [part.max() for part in np.array_split(middle, max(1, len(middle) // 400))]
    assert min(loudest) > 0.4


def test_its_own_speed_changes_nothing() -> None:
    samples = tone(220)
    assert at_speed(samples, 1.0, RATE) is samples


@pytest.mark.parametrize("count", [0, 1, 100, 700])
def test_a_sound_too_short_to_cut_stays_as_it_is(count: int) -> None:
    samples = np.ones(count, np.float32)
    assert len(at_speed(samples, 2.0, RATE)) == count


def test_silence_stays_silent() -> None:
    result = at_speed(np.zeros(RATE, np.float32), 1.5, RATE)
    assert np.isfinite(result).all()
    assert not result.any()
