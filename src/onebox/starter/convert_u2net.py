"""Make a model folder of U²-Net in ONNX: `python -m onebox.starter.convert_u2net FILE.onnx FOLDER`.

Exporting has folded the batch norms into the convolutions and taken their names away; the order in
which they run tells which is which.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from onebox.core.errors import ModelBroken
from onebox.core.os_support import die_with_parent
from onebox.imaging.segmentation.u2net_names import PARTS, convolutions, heads
from onebox.starter.onnx_weights import OnnxWeights, read_onnx

# What makes one model of the folder's files.
CONFIG = {"architectures": ["U2Net"], "model_type": "u2net"}


def convert(onnx: Path, folder: Path) -> None:
    """Write float32 safetensors and the configuration into the folder.

    Raises ModelBroken when the file holds another network.
    """
    import torch
    from safetensors.torch import save_file

    found = _by_names(read_onnx(onnx))
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: torch.from_numpy(value.copy()) for name, value in found.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")


def _by_names(read: OnnxWeights) -> dict[str, Any]:
    names = list(convolutions())
    named = {f"{head}.{part}" for head in heads() for part in PARTS}
    nameless = [pair for pair in read.order if pair[0] not in named]
    if not named <= read.tensors.keys() or len(nameless) != len(names):
        raise ModelBroken("the ONNX file is not U²-Net as its authors' code exports it")
    found = {name: read.tensors[name] for name in named}
    for name, pair in zip(names, nameless, strict=True):
        for part, given in zip(PARTS, pair, strict=True):
            found[f"{name}.{part}"] = read.tensors[given]
    return found


def main(arguments: list[str]) -> None:
    die_with_parent()
    onnx, folder = map(Path, arguments)
    convert(onnx, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
