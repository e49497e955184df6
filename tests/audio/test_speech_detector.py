"""The network of silero-vad, computed here, against its authors' own."""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from onebox.audio.decoding.speech import FRAME, SpeechDetector, laid_out, load_weights
from tests.audio.sounds import RATE

NAMES = {
    "stft.forward_basis_buffer": "stft_conv.weight",
    "decoder.rnn.weight_ih": "lstm_cell.weight_ih",
    "decoder.rnn.weight_hh": "lstm_cell.weight_hh",
    "decoder.rnn.bias_ih": "lstm_cell.bias_ih",
    "decoder.rnn.bias_hh": "lstm_cell.bias_hh",
    "decoder.decoder.2.weight": "final_conv.weight",
    "decoder.decoder.2.bias": "final_conv.bias",
    **{
        f"encoder.{at}.reparam_conv.{part}": f"conv{at + 1}.{part}"
        for at in range(4)
        for part in ("weight", "bias")
    },
}


def sound() -> np.ndarray:
    """int16, whole frames: tones and noise that swell."""
    chance = np.random.default_rng(5)
    time = np.arange(300 * FRAME) / RATE
    voice = sum(np.sin(2 * np.pi * 140 * n * time) / n for n in range(1, 12))
    swell = np.abs(np.sin(2 * np.pi * 1.7 * time))
    return (voice * swell * 6000 + chance.normal(size=len(time)) * 300).astype(np.int16)


def test_it_is_the_same_network_as_its_authors():
    import torch

    spec = find_spec("silero_vad")
    theirs = torch.jit.load(Path(spec.origin).parent / "data" / "silero_vad.jit")
    theirs.reset_states()
    samples = sound()
    chunks = torch.from_numpy(samples.astype(np.float32) / 32768).reshape(-1, FRAME)
    wanted = [theirs(chunk, RATE).item() for chunk in chunks]
    state = theirs._model.state_dict()
    weights = laid_out({name: state[key].numpy() for key, name in NAMES.items()})
    np.testing.assert_allclose(SpeechDetector(weights).probabilities(samples), wanted, atol=1e-4)
    assert max(wanted) > 0.2  # Or nothing would have been compared.


def test_it_remembers_what_came_before():
    samples, weights = sound(), load_weights()
    whole = SpeechDetector(weights).probabilities(samples)
    piecewise = SpeechDetector(weights)
    cuts = [0, FRAME, 40 * FRAME, 41 * FRAME, 200 * FRAME, len(samples)]
    parts = [piecewise.probabilities(samples[start:end]) for start, end in itertools.pairwise(cuts)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
