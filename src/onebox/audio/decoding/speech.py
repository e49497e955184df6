"""`SpeechDetector`: how likely there is speech in each frame of 32 ms.

The network and its weights are those of the package silero-vad. Its own code runs one frame at a
time in torch or onnxruntime; here the convolutions of many frames are one matrix product, and
neither needs to be imported.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from onebox.audio.decoding.cutter import FRAME
from onebox.audio.windows import FULL_SCALE

_CONTEXT = 64
_WINDOW, _HOP = 256, 128
_BINS = _WINDOW // 2 + 1
_STEPS = 4  # Spectra of one frame.
_HIDDEN = 128
_BLOCK = 128  # Frames of one matrix product; more is no faster.


class SpeechDetector:
    """Remembers what it heard: one for each file. Not safe from two threads."""

    def __init__(self, weights: dict[str, Any]) -> None:
        import numpy as np

        self._weights = weights
        self._context = np.zeros(_CONTEXT, np.float32)
        self._hidden = np.zeros(_HIDDEN, np.float32)
        self._cell = np.zeros(_HIDDEN, np.float32)

    def probabilities(self, samples: Any) -> Any:
        """Of whole frames (int16 [n * FRAME], 16 kHz) that follow those of the call before:
        float32 [n].
        """
        import numpy as np

        frames = samples.reshape(-1, FRAME).astype(np.float32) / np.float32(FULL_SCALE)
        blocks = [frames[at : at + _BLOCK] for at in range(0, len(frames), _BLOCK)]
        return np.concatenate([self._block(block) for block in blocks])

    def _block(self, frames: Any) -> Any:
        import numpy as np

        before = np.concatenate([self._context[None], frames[:-1, -_CONTEXT:]])
        self._context = frames[-1, -_CONTEXT:].copy()
        mirrored = frames[:, -2 : -_CONTEXT - 2 : -1]
        sound = np.concatenate([before, frames, mirrored], axis=1)
        return self._remember(self._features(sound))

    def _features(self, sound: Any) -> Any:
        """[n, _CONTEXT + FRAME + _CONTEXT] → what the recurrent cell takes, [n, 4 * _HIDDEN]."""
        import numpy as np

        weights, count = self._weights, len(sound)
        windows = np.stack([sound[:, at * _HOP : at * _HOP + _WINDOW] for at in range(_STEPS)], 1)
        waves = windows.reshape(-1, _WINDOW) @ weights["stft"]
        power = waves[:, :_BINS] ** 2 + waves[:, _BINS:] ** 2
        spectra = np.sqrt(power).reshape(count, _STEPS, _BINS)
        found = _convolve(spectra, weights, "conv1", stride=1)
        found = _convolve(found, weights, "conv2", stride=2)
        found = _convolve(found, weights, "conv3", stride=2)
        found = _convolve(found, weights, "conv4", stride=1)
        return found[:, 0] @ weights["input"] + weights["input_bias"]

    def _remember(self, gates: Any) -> Any:
        """The recurrent cell, frame by frame. Three of its gates are logistic functions, written
        as hyperbolic tangents (their weights were halved), so that all four are one call.
        """
        import numpy as np

        recurrent = self._weights["recurrent"]
        hidden, cell = self._hidden, self._cell
        heard = np.empty((len(gates), _HIDDEN), np.float32)
        for at, row in enumerate(gates):
            row += hidden @ recurrent
            np.tanh(row, out=row)
            logistic = row[: 3 * _HIDDEN]
            logistic += 1
            logistic *= 0.5
            take, keep = row[:_HIDDEN], row[_HIDDEN : 2 * _HIDDEN]
            cell = keep * cell + take * row[3 * _HIDDEN :]
            hidden = np.multiply(row[2 * _HIDDEN : 3 * _HIDDEN], np.tanh(cell), out=heard[at])
        self._hidden, self._cell = hidden.copy(), cell
        score = np.maximum(heard, 0) @ self._weights["last"] + self._weights["last_bias"]
        return 1 / (1 + np.exp(-score))


def load_weights() -> dict[str, Any]:
    """Reads the weights that silero-vad ships. Takes some milliseconds."""
    from safetensors.numpy import load_file

    spec = find_spec("silero_vad")
    assert spec is not None, "the package silero-vad is not installed"
    assert spec.origin is not None
    return laid_out(load_file(Path(spec.origin).parent / "data" / "silero_vad_16k.safetensors"))


@cache
def shared_weights() -> dict[str, Any]:
    """Those of this process."""
    return load_weights()


def laid_out(raw: dict[str, Any]) -> dict[str, Any]:
    """The network's matrices by the names of its file → as this module multiplies with them."""
    import numpy as np

    made = {"stft": np.ascontiguousarray(raw["stft_conv.weight"][:, 0].T)}
    for name in ("conv1", "conv2", "conv3", "conv4"):
        kernel = raw[f"{name}.weight"]  # [out, in, 3]
        made[name] = np.ascontiguousarray(kernel.transpose(2, 1, 0).reshape(-1, len(kernel)))
        made[f"{name}_bias"] = raw[f"{name}.bias"]
    # From the order input, forget, cell, output to input, forget, output, cell.
    order = np.r_[0 : 2 * _HIDDEN, 3 * _HIDDEN : 4 * _HIDDEN, 2 * _HIDDEN : 3 * _HIDDEN]
    half = np.ones(4 * _HIDDEN, np.float32)
    half[: 3 * _HIDDEN] = 0.5
    bias = raw["lstm_cell.bias_ih"] + raw["lstm_cell.bias_hh"]
    made["input"] = np.ascontiguousarray(raw["lstm_cell.weight_ih"][order].T * half)
    made["recurrent"] = np.ascontiguousarray(raw["lstm_cell.weight_hh"][order].T * half)
    made["input_bias"] = bias[order] * half
    made["last"] = raw["final_conv.weight"][0, :, 0].copy()
    made["last_bias"] = raw["final_conv.bias"][0]
    return made


def _convolve(values: Any, weights: dict[str, Any], name: str, *, stride: int) -> Any:
    """Width 3, padded by one, with a rectifier: [n, steps, in] → [n, steps / stride, out]."""
    import numpy as np

    count, steps, _ = values.shape
    padded = np.pad(values, ((0, 0), (1, 1), (0, 0)))
    near = [padded[:, at : at + 3].reshape(count, -1) for at in range(0, steps, stride)]
    made = (
        np.stack(near, 1).reshape(count * len(near), -1) @ weights[name] + weights[f"{name}_bias"]
    )
    return np.maximum(made, 0).reshape(count, len(near), -1)
