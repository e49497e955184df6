"""Tokenizers that all checkpoints of a kind share, from vocabularies that come with the server.

CLIP's is that of OpenAI (MIT licence), T5's that of Google (Apache 2.0).
"""

from __future__ import annotations

import lzma
import tempfile
from pathlib import Path
from typing import Any

from onebox.core.errors import ModelBroken

FOLDER = Path(__file__).parent / "configs"
CLIP = FOLDER / "clip_merges.txt.xz"
T5 = FOLDER / "t5_tokenizer.json.xz"
CLIP_LENGTH, T5_LENGTH = 77, 512
START, END = "<|startoftext|>", "<|endoftext|>"
# Text encoders of OpenCLIP were trained with texts filled up with the token of number 0.
ZERO = "!"


def shipped_tokenizer(base: str, component: str, class_name: str) -> Any:
    """The tokenizer of a component whose tree has none. Raises ModelBroken where none is shipped.

    Args:
        base: "sd1", "sdxl" ...
        component: "tokenizer", "tokenizer_2" ...
    """
    if class_name == "CLIPTokenizer":
        return clip_tokenizer(END if pads_with_end(base, component) else ZERO)
    if class_name.startswith("T5Tokenizer"):
        return t5_tokenizer()
    raise ModelBroken(
        f"the vocabulary of its {component} ({class_name}) does not come with the server; put a "
        "diffusers folder of the same kind into the model folder"
    )


def pads_with_end(base: str, component: str) -> bool:
    """Whether a base fills texts up with the end token there, as OpenAI's CLIP wants it."""
    return component == "tokenizer" and base != "sd2"


def clip_tokenizer(pad_token: str) -> Any:
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    lines = lzma.decompress(CLIP.read_bytes()).decode().splitlines()
    merges = [(one, other) for one, other in (line.split(" ") for line in lines)]
    letters = list(bytes_to_unicode().values())
    pieces = letters + [f"{letter}</w>" for letter in letters]
    pieces += [one + other for one, other in merges]
    vocab = {piece: number for number, piece in enumerate([*pieces, START, END])}
    return CLIPTokenizer(
        vocab=vocab, merges=merges, pad_token=pad_token, model_max_length=CLIP_LENGTH
    )


def t5_tokenizer() -> Any:
    from transformers import T5Tokenizer

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tokenizer.json")
        file.write_bytes(lzma.decompress(T5.read_bytes()))
        return T5Tokenizer.from_pretrained(
            folder, local_files_only=True, model_max_length=T5_LENGTH
        )
