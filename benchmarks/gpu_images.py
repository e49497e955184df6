"""Pictures in batches of 1, 4 and 8 on a card: through HTTP against raw diffusers, and which share
of the card's measured matrix rate the denoiser reaches.

    .venv/bin/python -m benchmarks.random_pipelines sdxl random/sdxl --device cuda
    .venv/bin/python -m benchmarks.gpu_images --model random/sdxl --size 1024 --steps 30
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import httpx

from benchmarks.images import timed
from benchmarks.raw_pictures import Asked, RawPipeline
from tests.support.server import running_server

BATCHES = (1, 4, 8)
# Side of the products that the matrix rate is taken from.
SIDE = 8192


def matrix_rate(pipeline: Any) -> float:
    """Operations a second of a large product in the denoiser's dtype, best of ten."""
    import torch

    module = denoiser(pipeline)
    one = torch.randn(SIDE, SIDE, device=module.device, dtype=module.dtype)

    def product() -> None:
        (one @ one)[0, 0].item()

    product()
    return 2 * SIDE**3 / min(timed(product) for _ in range(10))


def denoiser(pipeline: Any) -> Any:
    return getattr(pipeline, "unet", None) or pipeline.transformer


def operations(raw: RawPipeline, asked: Asked) -> int:
    """Of the products and convolutions of one picture, all parts of the pipeline included."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        raw.png(asked)
    return int(counter.get_total_flops())


def http(client: httpx.Client, model: str, asked: Asked, n: int) -> None:
    client.post("/v1/images/generations", json=asked.body(model, n=n)).raise_for_status()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    asked = Asked(size=given.size, steps=given.steps)
    raw = RawPipeline(given.model, given.device)
    raw.png(asked)
    rate, work = matrix_rate(raw.pipeline), operations(raw, asked)
    print(f"matrix rate {rate / 1e12:.1f} TFLOP/s; one picture {work / 1e12:.2f} TFLOP")
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(
            Path(folder) / "data", given.model.parent, ONEBOX_DEVICE=given.device
        ) as server,
        server.client() as client,
    ):
        for n in BATCHES:
            http(client, given.model.name, asked, n)
            peer, ours = [], []
            for _ in range(given.rounds):
                peer.append(timed(lambda n=n: raw.pngs(asked, n)))
                ours.append(timed(lambda n=n: http(client, given.model.name, asked, n)))
            here, there = statistics.median(peer), statistics.median(ours)
            share = n * work / there / rate
            print(
                f"batch {n}: raw {here:.3f} s, through HTTP {there:.3f} s, ratio "
                f"{there / here:.3f}, {share:.0%} of the matrix rate"
            )


if __name__ == "__main__":
    main()
