"""Pictures in batches of 1, 4 and 8 on a card: through HTTP against raw diffusers, with the
denoiser as it is and compiled, and which share of the card's measured matrix rate is reached.

    .venv/bin/python -m benchmarks.random_pipelines sdxl random/sdxl --device cuda
    .venv/bin/python -m benchmarks.random_pipelines flux-dev random/flux --device cuda
    .venv/bin/python -m benchmarks.gpu_images --model random/sdxl --size 1024 --steps 30
    .venv/bin/python -m benchmarks.gpu_images --model random/flux --size 1024 --steps 28

Each way has a server of its own, which takes turns with the same raw pipeline of this process: what
compiling gains is the ratio of the two ratios. The model's files are linked, not copied. On a CPU
take `--device cpu --side 1024 --batches 1`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.figures import markdown
from benchmarks.images import timed
from benchmarks.raw_pictures import Asked, RawPipeline
from tests.support.server import running_server

BATCHES = (1, 4, 8)
# What `onebox.toml` says.
WAYS = {"as it is": "", "compiled": "compile = true\n"}
TARGET_RATIO = 1.02
MODEL = "model"
# A first request may compile for minutes.
PATIENCE_S = 3600.0
HEADER = (
    "batch",
    "denoiser",
    "raw, s",
    "HTTP, s",
    "HTTP : raw",
    "share of the matrix rate",
    "first request, s",
    "gain",
)


@dataclass(frozen=True)
class Figures:
    """Medians of seconds of the rounds, the median of their ratios, and the first request's."""

    raw_s: float
    http_s: float
    ratio: float
    first_s: float


def matrix_rate(pipeline: Any, side: int) -> float:
    """Operations a second of a large product in the denoiser's dtype, best of ten."""
    import torch

    module = denoiser(pipeline)
    one = torch.randn(side, side, device=module.device, dtype=module.dtype)

    def product() -> None:
        (one @ one)[0, 0].item()

    product()
    return 2 * side**3 / min(timed(product) for _ in range(10))


def denoiser(pipeline: Any) -> Any:
    return getattr(pipeline, "unet", None) or pipeline.transformer


def operations(raw: RawPipeline, asked: Asked) -> int:
    """Of the products and convolutions of one picture, all parts of the pipeline included."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        raw.png(asked)
    return int(counter.get_total_flops())


@contextlib.contextmanager
def served(folder: Path, device: str, toml: str) -> Iterator[httpx.Client]:
    """A client of a server that has the model under the name MODEL, with that `onebox.toml`."""
    # Beside the model, so that its files can be linked.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="served-") as place:
        model = Path(place) / "models" / MODEL
        shutil.copytree(folder, model, copy_function=_link)
        (model / "onebox.toml").unlink(missing_ok=True)
        (model / "onebox.toml").write_text(toml)
        with (
            running_server(
                Path(place) / "data",
                model.parent,
                ONEBOX_DEVICE=device,
                ONEBOX_REQUEST_TIMEOUT=str(int(PATIENCE_S)),
                ONEBOX_HANG_TIMEOUT=str(int(PATIENCE_S)),
            ) as server,
            server.client() as client,
        ):
            client.timeout = httpx.Timeout(PATIENCE_S)
            yield client


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def http(client: httpx.Client, asked: Asked, n: int) -> None:
    client.post(
        "/v1/images/generations", json=asked.body(MODEL, n=n, timeout_s=PATIENCE_S)
    ).raise_for_status()


def measured(client: httpx.Client, raw: RawPipeline, asked: Asked, n: int, rounds: int) -> Figures:
    first_s = timed(lambda: http(client, asked, n))
    raw.pngs(asked, n)
    peer, ours = [], []
    for _ in range(rounds):
        peer.append(timed(lambda: raw.pngs(asked, n)))
        ours.append(timed(lambda: http(client, asked, n)))
    ratios = [there / here for here, there in zip(peer, ours, strict=True)]
    return Figures(*map(statistics.median, (peer, ours, ratios)), first_s)


def main() -> None:
    given = _arguments()
    asked = Asked(size=given.size, steps=given.steps)
    raw = RawPipeline(given.model, given.device)
    raw.png(asked)
    rate, work = matrix_rate(raw.pipeline, given.side), operations(raw, asked)
    print(f"matrix rate {rate / 1e12:.2f} TFLOP/s; one picture {work / 1e12:.3f} TFLOP")
    found: dict[tuple[int, str], Figures] = {}
    for way in given.ways:
        with served(given.model.resolve(), given.device, WAYS[way]) as client:
            for n in given.batches:
                found[n, way] = measured(client, raw, asked, n, given.rounds)
                print(f"batch {n}, {way}: {found[n, way]}", flush=True)
    rows = [_row(n, way, found, n * work / rate) for n, way in sorted(found)]
    print(markdown(HEADER, rows))
    print(f"The target of HTTP : raw, as it is, is {TARGET_RATIO}.")


def _row(
    n: int, way: str, found: dict[tuple[int, str], Figures], least_s: float
) -> tuple[str, ...]:
    """`least_s`: seconds that the same work would take at the matrix rate."""
    mine, plain = found[n, way], found.get((n, "as it is"))
    gain = "" if plain is None or way == "as it is" else f"{plain.ratio / mine.ratio:.2f}"
    return (
        str(n),
        way,
        f"{mine.raw_s:.3f}",
        f"{mine.http_s:.3f}",
        f"{mine.ratio:.3f}",
        f"{least_s / mine.http_s:.0%}",
        f"{mine.first_s:.1f}",
        gain,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=tuple(WAYS))
    parser.add_argument("--side", type=int, default=8192, help="of the product that is timed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
