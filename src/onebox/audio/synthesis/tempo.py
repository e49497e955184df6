"""Faster and slower speech at the same pitch, for models that know one speed only."""

from __future__ import annotations

from typing import Any

_WINDOW_S = 0.04
_SEARCH_S = 0.01


def at_speed(samples: Any, speed: float, sampling_rate: int) -> Any:
    """float32 numpy array [n] → [about n / speed].

    Waveform-similarity overlap-add (WSOLA): windows are laid half over each other, each taken from
    where it goes on best from the one before.
    """
    import numpy as np

    half = int(_WINDOW_S * sampling_rate / 2)
    search = int(_SEARCH_S * sampling_rate)
    count = round(len(samples) / (half * speed))
    if speed == 1 or count < 2:
        return samples
    window = np.hanning(2 * half + 1)[:-1].astype(np.float32)
    padded = np.pad(samples, (half + search, 2 * half + 2 * search))
    result = np.zeros((count + 1) * half, np.float32)
    taken = search
    for index in range(count):
        place = search + int(index * half * speed)
        if index:
            place += _best_shift(padded, taken + half, place, search, 2 * half)
        taken = place
        result[index * half : (index + 2) * half] += window * padded[taken : taken + 2 * half]
    return result[half:]


def _best_shift(samples: Any, wanted: int, place: int, search: int, size: int) -> int:
    """Within ±`search`: where the samples from `place` on resemble those from `wanted` on most."""
    import numpy as np

    target = samples[wanted : wanted + size]
    field = samples[place - search : place + search + size]
    size = min(size, len(target))
    likeness = np.correlate(field[: 2 * search + size], target[:size], "valid")
    energy = np.convolve(field[: 2 * search + size] ** 2, np.ones(size, np.float32), "valid")
    return int(np.argmax(likeness / np.sqrt(energy + 1e-9))) - search
