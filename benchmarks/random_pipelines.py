"""Pipelines of full size with random weights, for figures where no trained ones may be had.

    .venv/bin/python -m benchmarks.random_pipelines sd1 FOLDER [--dtype bfloat16] [--device cpu]

Kinds are the folders of `src/onebox/imaging/checkpoints/configs`: sd1, sdxl, flux-dev, …; the
tokenizers are those that ship there.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from tests.support.server import ROOT

CONFIGS = ROOT / "src" / "onebox" / "imaging" / "checkpoints" / "configs"
WITHOUT_WEIGHTS = ("scheduler", "tokenizer", "tokenizer_2", "tokenizer_3")


def write_random(kind: str, folder: Path, dtype: str, device: str) -> None:
    """A diffusers folder of this kind; nothing but its weights is made up."""
    import torch

    shutil.copytree(CONFIGS / kind, folder)
    torch.set_default_dtype(getattr(torch, dtype))
    torch.manual_seed(0)
    index = json.loads((folder / "model_index.json").read_text())
    for name, value in index.items():
        if isinstance(value, list) and value[1] and name not in WITHOUT_WEIGHTS:
            _write_part(folder / name, *value, device)
    _write_tokenizers(folder, index, kind.split("-")[0])


def _write_part(folder: Path, library: str, class_name: str, device: str) -> None:
    import diffusers
    import torch
    import transformers

    module: Any = {"diffusers": diffusers, "transformers": transformers}[library]
    cls = getattr(module, class_name)
    config = json.loads((folder / "config.json").read_text())
    with torch.device(device):
        made = (
            cls.from_config(config) if library == "diffusers" else cls(cls.config_class(**config))
        )
    made.save_pretrained(folder)


def _write_tokenizers(folder: Path, index: dict[str, Any], base: str) -> None:
    from onebox.imaging.checkpoints.vocabularies import shipped_tokenizer

    for name in index:
        if name.startswith("tokenizer") and isinstance(index[name], list):
            shipped_tokenizer(base, name, index[name][1]).save_pretrained(folder / name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kind", choices=sorted(p.name for p in CONFIGS.iterdir() if p.is_dir()))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    write_random(given.kind, given.folder, given.dtype, given.device)


if __name__ == "__main__":
    main()
