"""`Windower`: samples in, windows out; what lies between them is not kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onebox.audio.decoding.cutter import FRAME, Cut, Cutter
from onebox.audio.decoding.frames import RawWindow
from onebox.audio.decoding.options import VadOptions
from onebox.audio.decoding.speech import SpeechDetector
from onebox.audio.windows import FULL_SCALE

# Frames that are looked at in one go (4 s).
_BATCH = 128
_QUIETEST = 1e-3


class Windower:
    """One for each file.

    Args:
        weights: of the SpeechDetector; used only with `vad`.
        vad: None takes everything for speech.
    """

    def __init__(self, weights: dict[str, Any], vad: VadOptions | None) -> None:
        import numpy as np

        self._detector = SpeechDetector(weights) if vad else None
        self._cutter = Cutter(vad)
        self._kept = np.zeros(0, np.int16)  # Samples from frame _kept_from on.
        self._kept_from = 0
        self._new: list[Any] = []
        self._new_samples = 0
        self.samples = 0

    def add(self, samples: Any) -> Iterator[RawWindow]:
        """The next samples: int16 [n], 16 kHz. Gives the windows that are complete."""
        self._new.append(samples)
        self._new_samples += len(samples)
        self.samples += len(samples)
        if self._new_samples >= _BATCH * FRAME:
            yield from self._look(self._new_samples // FRAME)

    def end(self) -> Iterator[RawWindow]:
        import numpy as np

        total, missing = self.samples, -self._new_samples % FRAME
        self._new.append(np.zeros(missing, np.int16))
        self._new_samples += missing
        if self._new_samples:
            yield from self._look(self._new_samples // FRAME, total)
        for cut in self._cutter.end():
            yield self._window(cut, total)

    def _look(self, frames: int, total: int | None = None) -> Iterator[RawWindow]:
        import numpy as np

        joined = np.concatenate(self._new)
        sound, rest = joined[: frames * FRAME], joined[frames * FRAME :]
        self._new, self._new_samples = [rest.copy()], len(rest)
        self._kept = np.concatenate([self._kept, sound])
        if self._detector is None:
            probabilities = [1.0] * frames
        else:
            probabilities = self._detector.probabilities(sound).tolist()
        for cut in self._cutter.add(probabilities, _decibels(sound).tolist()):
            yield self._window(cut, total)
        keep = self._cutter.kept_from
        self._kept = self._kept[(keep - self._kept_from) * FRAME :].copy()
        self._kept_from = keep

    def _window(self, cut: Cut, total: int | None) -> RawWindow:
        start = cut.start * FRAME
        end = cut.end * FRAME if total is None else min(cut.end * FRAME, total)
        first = self._kept_from * FRAME
        speech = tuple(
            (run[0] * FRAME - start, min(run[1] * FRAME, end) - start) for run in cut.speech
        )
        return RawWindow(start, speech, self._kept[start - first : end - first].tobytes())


def _decibels(samples: Any) -> Any:
    """Of each frame: float [n]."""
    import numpy as np

    frames = samples.reshape(-1, FRAME).astype(np.float32) / np.float32(FULL_SCALE)
    return 10 * np.log10(np.mean(frames**2, axis=1) + _QUIETEST**2)
