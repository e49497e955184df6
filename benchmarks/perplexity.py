"""What a precision costs in quality: the mean negative log-likelihood of a fixed English text.

The text is the beginning of "Alice's Adventures in Wonderland" by Lewis Carroll (1865; public
domain). Each token is predicted from all before it, in one forward pass of the model; with
int8 the activations are quantised row by row, as in the server.

    .venv/bin/python -m benchmarks.perplexity MODEL_FOLDER [GGUF_FILE ...]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import markdown
from onebox.core.contracts import Device, Entry
from onebox.core.weight_sizes import resident_bytes
from onebox.language.checkpoints.loading import load_text_model, silence
from onebox.language.decoding.quantize import int8_bytes, quantize_int8
from onebox.language.prompts.tokenizer import tokenizer_of

TEXT = Path(__file__).with_suffix(".txt")
HEADER = ("precision", "mean NLL", "perplexity", "against float32", "same best token", "weights")


@dataclass(frozen=True, slots=True)
class Figure:
    """`best` are the most likely tokens at each place, `size_bytes` the weights in memory."""

    name: str
    nll: float
    best: Any
    size_bytes: int


def entry_of(path: Path, **overrides: Any) -> Entry:
    return Entry(
        key=str(path),
        name=path.name,
        path=str(path),
        extension=path.suffix if path.is_file() else "",
        size_bytes=0,
        status="ready",
        overrides=overrides,
    )


def measure(name: str, path: Path, dtype: Any, *, int8: bool = False) -> Figure:
    import torch

    entry = entry_of(path)
    ids = tokenizer_of(entry).encode(TEXT.read_text(encoding="utf-8"), special=True)
    device = Device("cpu", "cpu", "CPU", "cpu", "host", 0, 0, dtype, dtype)
    model = load_text_model(entry, device)
    if int8:
        quantize_int8(model)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].float()
        nll = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]))
    return Figure(name, float(nll), logits.argmax(-1), resident_bytes([model]) + int8_bytes(model))


def figures(folder: Path, files: list[Path]) -> Iterator[Figure]:
    yield measure("float32", folder, "float32")
    yield measure("bfloat16", folder, "bfloat16")
    yield measure("int8 weights, float32 between", folder, "float32", int8=True)
    yield measure("int8 weights, bfloat16 between", folder, "bfloat16", int8=True)
    for file in files:
        yield measure(f"{file.name}, as float32", file, "float32")


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description="Perplexity of a fixed text, by precision")
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    options = parser.parse_args()
    silence()
    found = list(figures(options.folder, options.files))
    exact = found[0]
    print(f"{len(exact.best)} tokens, {TEXT.name}, torch {torch.__version__}\n")
    rows = [
        (
            figure.name,
            f"{figure.nll:.4f}",
            f"{math.exp(figure.nll):.3f}",
            f"{figure.nll - exact.nll:+.4f}",
            f"{100 * float((figure.best == exact.best).float().mean()):.1f} %",
            f"{figure.size_bytes / 1e6:.0f} MB",
        )
        for figure in found
    ]
    print(markdown(HEADER, rows))


if __name__ == "__main__":
    main()
