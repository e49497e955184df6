"""What a folder of a speech model must have, and what its configuration says. No weights are read.

Whisper has a family and files of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from onebox.audio.windows import MAX_SAMPLES, SAMPLING_RATE
from onebox.core.contracts import Device
from onebox.core.errors import ModelBroken
from onebox.core.on_disk import OnDisk
from onebox.core.remote_code import refuse_remote_code
from onebox.core.weight_sizes import bytes_as
from onebox.language.checkpoints.checkpoint_files import (
    CONFIG,
    MAX_TOKENIZER_BYTES,
    weight_files,
    weight_tensors,
)

FEATURES = "preprocessor_config.json"
TOKENIZERS = ("tokenizer.json", "vocab.json", "sentencepiece.bpe.model", "tokenizer.model")
# The first convolution's output, its norm and its activation lie in memory at the same time.
WIDEST_COPIES = 3


def require_speech_model(on_disk: OnDisk) -> None:
    """Raises ModelBroken unless weights, tokenizer and the sound's settings are all there."""
    refuse_remote_code(on_disk)
    for name in weight_files(on_disk):
        on_disk.tensors(name)
    if FEATURES not in on_disk.files:
        raise ModelBroken(f"{FEATURES} is missing; copy the whole checkpoint")
    rate = on_disk.read_json(FEATURES).get("sampling_rate", SAMPLING_RATE)
    if rate != SAMPLING_RATE:
        raise ModelBroken(
            f"the model takes sound of {str(rate)[:20]} Hz, and only {SAMPLING_RATE} Hz is given; "
            "take another one"
        )
    found = [name for name in TOKENIZERS if name in on_disk.files]
    if not found:
        raise ModelBroken("vocab.json or tokenizer.json is missing; copy the whole checkpoint")
    for name in found:
        if on_disk.files[name] > MAX_TOKENIZER_BYTES:
            raise ModelBroken(f"{name} is larger than {MAX_TOKENIZER_BYTES} bytes; it is not read")
    if on_disk.read_json(CONFIG).get("quantization_config"):
        raise ModelBroken(
            "the weights are stored quantised, which is not loaded; take the original"
        )


def window_facts(on_disk: OnDisk) -> dict[str, int]:
    """`window_values`: the most numbers that a window of full length has in memory at once.

    Empty where the configuration does not tell: then it is guessed from the weights.
    """
    config = on_disk.read_json(CONFIG)
    nested = config.get("encoder")
    encoder = nested if isinstance(nested, dict) else config
    channels, stride = _first(encoder, "conv_dim"), _first(encoder, "conv_stride")
    if channels is None or stride is None:
        return {}
    frames = math.ceil(MAX_SAMPLES / stride)
    return {"window_values": WIDEST_COPIES * channels * frames}


def weight_bytes(on_disk: OnDisk, device: Device) -> int:
    return bytes_as(weight_tensors(on_disk).values(), device.dtype)


def _first(config: Mapping[str, Any], name: str) -> int | None:
    """The first of a list of sizes, if it is one."""
    values = config.get(name)
    value = values[0] if isinstance(values, list) and values else None
    return value if isinstance(value, int) and value > 0 else None
