"""Has a source decode all of a file, as the engine would."""

from __future__ import annotations

import threading

import numpy as np

from onebox.audio.decoding.options import VadOptions
from onebox.audio.decoding.source import AudioSource, open_source
from onebox.audio.windows import SAMPLING_RATE, Window

LIMIT_S = 60.0


def opened(
    data: bytes, *, media_type: str = "audio/x", max_seconds: float = 14_400.0, vad=None, **more
) -> AudioSource:
    return open_source(data, media_type, max_seconds=max_seconds, vad=vad, **more)


def windows_of(source: AudioSource) -> list[Window]:
    """All of them. Raises what decoding ends in."""
    told = threading.Event()
    source.start(told.set)
    found: list[Window] = []
    try:
        while not source.ended:
            found += source.take(3)
            if not source.ended and not found_more(source, told, found):
                raise TimeoutError("nothing came")
    finally:
        source.close()
    return found


def found_more(source: AudioSource, told: threading.Event, found: list[Window]) -> bool:
    more = source.take(3)
    found += more
    if more or source.ended:
        return True
    if not told.wait(LIMIT_S):
        return False
    told.clear()
    return True


def heard(data: bytes, *, vad: VadOptions | None = None, **more) -> list[Window]:
    return windows_of(opened(data, vad=vad, **more))


def joined(windows: list[Window]) -> np.ndarray:
    """Windows that cover all of a file as its samples, float between -1 and 1."""
    end = 0
    for window in windows:
        assert round(window.start_s * SAMPLING_RATE) == end
        end += len(window.samples)
    return np.concatenate([window.samples for window in windows]).astype(np.float64) / 32768
