"""Log-mel spectra as Whisper's feature extractor makes them, of many windows at once.

Short windows are filled up to the full length too. The encoder can be given less, but tiny.en then
makes more errors (299 s of noisy clips of 2 to 18 s: 4.3 %, and 5.1 % with 10 s of silence after
each), and with 3 s or less it falls into loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onebox.audio.windows import FULL_SCALE

LEAST_POWER = 1e-10
RANGE = 8.0  # below a window's loudest place, in powers of ten


class LogMel:
    """
    Args:
        extractor: of the checkpoint; its numbers are used, not its way of computing.
        device: where it computes.
    """

    def __init__(self, extractor: Any, device: Any) -> None:
        import numpy as np
        import torch

        self.frames: int = extractor.nb_max_frames
        self._samples: int = extractor.n_samples
        self._size: int = extractor.n_fft
        self._hop: int = extractor.hop_length
        self._device = device
        filters = np.ascontiguousarray(extractor.mel_filters.T, dtype=np.float32)
        self._filters = torch.from_numpy(filters).to(device)
        self._window = torch.hann_window(self._size, device=device)

    def __call__(self, windows: Sequence[Any]) -> Any:
        """int16 arrays [n], each at most as long as the model hears at once → float32 tensor
        [windows, mels, frames], filled up with silence.

        Raises ValueError for a longer one.
        """
        import torch

        waves = self._waves(windows)
        spectrum = torch.stft(
            waves, self._size, self._hop, window=self._window, return_complex=True
        )
        powers = torch.view_as_real(spectrum[..., :-1]).square().sum(-1)
        mels = (self._filters @ powers).clamp_(min=LEAST_POWER).log10_()
        floor = mels.amax((1, 2), keepdim=True) - RANGE
        # What comes after a window's last sample is silent and need not be computed.
        shape = (len(windows), mels.shape[1], self.frames)
        whole = floor.clamp(min=torch.tensor(LEAST_POWER).log10().item()).expand(shape).clone()
        whole[..., : mels.shape[2]] = torch.maximum(mels, floor)
        return whole.add_(4.0).div_(4.0)

    def _waves(self, windows: Sequence[Any]) -> Any:
        """float32 [windows, samples] from -1 to 1, with enough silence after the longest one for
        its last frame.
        """
        import torch

        longest = max(map(len, windows))
        if longest > self._samples:
            raise ValueError(f"a window of {longest} samples; at most {self._samples} are heard")
        frames = -(-(longest + self._size) // self._hop)
        waves = torch.zeros(len(windows), min(frames * self._hop, self._samples))
        for row, samples in zip(waves, windows, strict=True):
            row.numpy()[: len(samples)] = samples
        return waves.to(self._device).div_(FULL_SCALE)
