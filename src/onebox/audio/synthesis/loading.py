"""Load voices through transformers: from local files, never with code of theirs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from onebox.audio.synthesis.one_by_one import OneByOne
from onebox.core.contracts import Device, Entry
from onebox.core.errors import ModelBroken
from onebox.core.weight_sizes import own_memory

VOCODER = "vocoder"
SPEAKERS = "speakers"
SPEAKER_FILES = (".safetensors", ".npy")
BARK_SPEAKERS = "speaker_embeddings_path.json"
BARK_PROMPTS = ("semantic_prompt", "coarse_prompt", "fine_prompt")
_NAMED = 3
# What only training needs, and converted voices do without.
_UNUSED = ("posterior_encoder.", "duration_predictor.post_")


def load_vits(entry: Entry, device: Device) -> OneByOne:
    """Raises ModelBroken for what cannot be loaded."""
    from transformers import AutoTokenizer, VitsModel

    from onebox.audio.synthesis.vits import VitsSynthesizer

    model = _load(VitsModel, Path(entry.path), device)
    tokenizer = AutoTokenizer.from_pretrained(
        entry.path, local_files_only=True, trust_remote_code=False
    )
    if getattr(tokenizer, "is_uroman", False) and importlib.util.find_spec("uroman") is None:
        raise ModelBroken(
            "the voice reads its language in Latin letters; install the package that writes it so: "
            "pip install uroman"
        )
    if getattr(tokenizer, "phonemize", False):
        # Texts come as phonemes already; they must stay as they are.
        tokenizer.phonemize = tokenizer.normalize = False
    voices = [voice["id"] for voice in entry.facts["voices"]]
    return VitsSynthesizer(model, tokenizer, voices, entry.facts["symbols"])


def load_speecht5(entry: Entry, device: Device) -> OneByOne:
    """Raises ModelBroken for what cannot be loaded."""
    from transformers import AutoTokenizer, SpeechT5ForTextToSpeech, SpeechT5HifiGan

    from onebox.audio.synthesis.speecht5 import SpeechT5Synthesizer

    folder = Path(entry.path)
    model = _load(SpeechT5ForTextToSpeech, folder, device)
    vocoder = _load(SpeechT5HifiGan, folder / VOCODER, device)
    size = model.config.speaker_embedding_dim
    speakers = {
        voice["id"]: _embedding(folder / SPEAKERS, voice["id"], size)
        for voice in entry.facts["voices"]
    }
    tokenizer = AutoTokenizer.from_pretrained(
        entry.path, local_files_only=True, trust_remote_code=False
    )
    return SpeechT5Synthesizer(model, vocoder, tokenizer, speakers)


def load_bark(entry: Entry, device: Device) -> OneByOne:
    """Raises ModelBroken for what cannot be loaded."""
    from transformers import AutoTokenizer, BarkModel

    from onebox.audio.synthesis.bark import BarkSynthesizer

    folder = Path(entry.path)
    model = _load(BarkModel, folder, device)
    tokenizer = AutoTokenizer.from_pretrained(
        entry.path, local_files_only=True, trust_remote_code=False
    )
    speakers = {voice["id"]: _prompts(folder, voice["id"]) for voice in entry.facts["voices"]}
    return BarkSynthesizer(model, tokenizer, entry.facts["sampling_rate"], speakers)


def _prompts(folder: Path, voice: str) -> dict[str, Any] | None:
    """The parts of a Bark speaker; None for a voice that the folder does not describe."""
    import json

    import numpy as np
    import torch

    if not (folder / BARK_SPEAKERS).is_file():
        return None
    told = json.loads((folder / BARK_SPEAKERS).read_text(encoding="utf-8"))[voice]
    try:
        return {
            part: torch.from_numpy(np.load(folder / told[part], allow_pickle=False)).long()
            for part in BARK_PROMPTS
        }
    except ValueError as error:
        raise ModelBroken(
            f"the files of voice {voice} are no arrays: {str(error)[:200]}"
        ) from error


def _load(kind: Any, folder: Path, device: Device) -> Any:
    """In float32 on every device: what these models overflow or blur in is a sample, not a token.

    Raises ModelBroken when weights are missing: transformers makes those up at random.
    """
    import torch

    model, info = kind.from_pretrained(
        folder,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    missing = sorted(name for name in info["missing_keys"] if not name.startswith(_UNUSED))
    if missing:
        raise ModelBroken(
            f"{len(missing)} weights are missing, such as {', '.join(missing[:_NAMED])[:300]}; "
            "copy the whole checkpoint"
        )
    own_memory([model])
    return model.eval().requires_grad_(False).to(device.torch_device)


def _embedding(folder: Path, voice: str, size: int) -> Any:
    """The numbers [n] that make a speaker. Raises ModelBroken for anything else in the file."""
    import numpy as np
    import torch
    from safetensors.torch import load_file

    file = next(path for kind in SPEAKER_FILES if (path := folder / f"{voice}{kind}").is_file())
    try:
        if file.suffix == ".npy":
            found = torch.from_numpy(np.load(file, allow_pickle=False))
        else:
            (found,) = load_file(file).values()
    except ValueError as error:
        raise ModelBroken(f"{SPEAKERS}/{file.name} is not one array: {str(error)[:200]}") from error
    if found.numel() != size:
        raise ModelBroken(
            f"{SPEAKERS}/{file.name} has {found.numel()} numbers and the model wants {size}; take "
            "an x-vector of that length"
        )
    return found.float().view(-1)
