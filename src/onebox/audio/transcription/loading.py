"""Loading of speech models through transformers: from local files, never with code of theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from onebox.audio.windows import FULL_SCALE, SAMPLING_RATE
from onebox.core.contracts import Device, Entry
from onebox.core.errors import ModelBroken
from onebox.core.weight_sizes import own_memory
from onebox.language.checkpoints.loading import dtype_name

# Only training needs it, so some checkpoints are without it.
UNUSED = frozenset({"masked_spec_embed"})
MAX_NAMED = 3
# Less than this is not even one frame for some models.
LEAST_SAMPLES = SAMPLING_RATE // 4
# How padding is tried: seconds of the shorter and of the longer sound, frames at the end of the
# shorter one that may see beyond it, and how far values may be apart, by the largest of them.
TRIED_S = (0.6, 1.0)
LAST_FRAMES = 2
TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}


@dataclass(frozen=True, slots=True)
class SpeechModel:
    """
    Attributes:
        features: what makes the model's input of samples.
    """

    model: Any
    features: Any
    tokenizer: Any
    device: str


def load_speech_model(entry: Entry, device: Device, kind: Literal["ctc", "seq2seq"]) -> SpeechModel:
    """Raises ModelBroken for what cannot be loaded."""
    import torch
    from transformers import AutoModelForCTC, AutoModelForSpeechSeq2Seq

    small = _small_parts(entry)
    auto_class: Any = AutoModelForCTC if kind == "ctc" else AutoModelForSpeechSeq2Seq
    try:
        model, info = auto_class.from_pretrained(
            entry.path,
            dtype=getattr(torch, dtype_name(entry, device)),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (ValueError, KeyError) as error:
        raise ModelBroken(f"{entry.name} cannot be loaded: {str(error)[:300]}") from error
    missing = sorted(name for name in info["missing_keys"] if name.split(".")[-1] not in UNUSED)
    if missing:
        raise ModelBroken(
            f"{len(missing)} weights are missing, such as {', '.join(missing[:MAX_NAMED])[:300]}; "
            "copy the whole checkpoint"
        )
    own_memory([model])
    model = model.eval().requires_grad_(False).to(device.torch_device)
    return SpeechModel(model, *small, device.torch_device)


def _small_parts(entry: Entry) -> tuple[Any, Any]:
    """First, for they are quick and may be broken."""
    from transformers import AutoFeatureExtractor, AutoTokenizer

    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        features = AutoFeatureExtractor.from_pretrained(entry.path, **local)
        tokenizer = AutoTokenizer.from_pretrained(entry.path, **local)
    except Exception as error:  # Of as many kinds as there are ways to spoil such a file.
        raise ModelBroken(
            f"the tokenizer or sound settings of {entry.name} cannot be read: "
            f"{type(error).__name__}: {str(error)[:300]}"
        ) from error
    return features, tokenizer


def as_input(loaded: SpeechModel, samples: list[Any]) -> dict[str, Any]:
    """What the model takes of windows (int16 arrays), filled up to the longest of them."""
    import numpy as np
    import torch

    short = [max(0, LEAST_SAMPLES - len(array)) for array in samples]
    made = loaded.features(
        [
            np.pad(array.astype(np.float32) / FULL_SCALE, (0, missing))
            for array, missing in zip(samples, short, strict=True)
        ],
        sampling_rate=SAMPLING_RATE,
        padding=True,
        return_tensors="pt",
    )
    dtype = next(loaded.model.parameters()).dtype
    return {
        name: tensor.to(loaded.device, dtype if torch.is_floating_point(tensor) else None)
        for name, tensor in made.items()
    }


def is_padding_harmless(loaded: SpeechModel, compute: Callable[[dict[str, Any]], Any]) -> bool:
    """Whether a window is heard alike alone and beside a longer one.

    Some models are told which samples only fill up, and still hear them.

    Args:
        compute: a tensor [windows, frames, …] of the model's input.
    """
    import numpy as np
    import torch

    numbers = np.random.default_rng(0)
    sounds = [
        (numbers.standard_normal(int(seconds * SAMPLING_RATE)) * 3000).astype(np.int16)
        for seconds in TRIED_S
    ]
    with torch.inference_mode():
        alone = compute(as_input(loaded, sounds[:1]))[0].float()
        beside = compute(as_input(loaded, sounds))[0].float()
    frames = max(1, len(alone) - LAST_FRAMES)
    if len(beside) < frames:
        return False
    apart = (alone[:frames] - beside[:frames]).abs().max()
    dtype = str(next(loaded.model.parameters()).dtype).removeprefix("torch.")
    return bool(apart <= TOLERANCE[dtype] * alone.abs().max())
