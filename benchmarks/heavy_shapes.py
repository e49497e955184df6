"""Copies of `onebox-shapes` that draw the same pictures and weigh more: real models that do not fit
together.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy
from safetensors.numpy import load_file, save_file

from tests.support.server import ROOT

EMBEDDING = "embeddings.token_embedding.weight"
LOADED_BYTES = 4


def write_heavy_shapes(folder: Path, weights_bytes: int, number: int) -> None:
    """A copy whose text encoder has rows for words that no prompt has, as many as it takes.

    Copies of another `number` differ by that many rows, so that their contents are not the same.
    Loaded as float32 on every device: the file's halves are converted, so that the memory is taken.
    """
    shutil.copytree(ROOT / "ai-models" / "onebox-shapes", folder)
    weights = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    words, width = tensors[EMBEDDING].shape
    rows = weights_bytes // (width * LOADED_BYTES) + number
    padded = numpy.zeros((max(rows, words), width), tensors[EMBEDDING].dtype)
    padded[:words] = tensors[EMBEDDING]
    save_file({**tensors, EMBEDDING: padded}, weights, metadata={"format": "pt"})
    config = folder / "text_encoder" / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "vocab_size": len(padded)}, indent=2))
    (folder / "onebox.toml").write_text('dtype = "float32"\n')
