"""Videos through HTTP against the same pipeline called in this process by diffusers, and PyAV.

Both sides draw the same: steps, dtype, threads, seed, settings of the encoder. They take turns in
one run, so that whatever the machine does meanwhile hits both.

    .venv/bin/python -m benchmarks.videos [--model FOLDER] [--base FOLDER] [--rounds 7]
        [--routes generations tasks] [--size 128x128] [--frames 16] [--steps 20] [--device cuda:0]

Without `ai-models/onebox-shapes-motion`, `benchmarks.random_videos` writes a folder to measure.
"""

from __future__ import annotations

import argparse
import base64
import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx

from benchmarks.images import compared, timed
from benchmarks.random_videos import SHAPES
from benchmarks.raw_videos import Asked, RawVideos
from tests.support.server import ROOT, running_server

MOTION = ROOT / "ai-models" / "onebox-shapes-motion"


def generation(client: httpx.Client, model: str, asked: Asked) -> bytes:
    body = asked.generation(model)
    answer = client.post("/v1/videos/generations", json=body).raise_for_status()
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


def task(client: httpx.Client, model: str, asked: Asked) -> bytes:
    headers = {"Accept": "video/mp4"}
    answer = client.post("/v1/tasks/text-to-video", json=asked.task(model), headers=headers)
    return answer.raise_for_status().content


ROUTES: dict[str, Callable[[httpx.Client, str, Asked], bytes]] = {
    "generations": generation,
    "tasks": task,
}


def apart(client: httpx.Client, raw: RawVideos, model: str, asked: Asked) -> float:
    """Mean difference of both sides' pixels, of 255, before they are encoded.

    Raises AssertionError for clips of other shapes.
    """
    import numpy as np
    from PIL import Image

    body = {**asked.task(model), "output_format": "zip"}
    answer = client.post("/v1/tasks/text-to-video", json=body).raise_for_status()
    data = base64.b64decode(answer.json()["outputs"][0]["b64_json"])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = sorted(archive.namelist())
        ours = np.stack([np.asarray(Image.open(archive.open(name))) for name in names])
    peer = raw.frames(asked)
    assert ours.shape == peer.shape, f"{ours.shape} and {peer.shape}"
    return float(np.abs(ours.astype(int) - peer).mean())


def in_turns(
    client: httpx.Client, raw: RawVideos, model: str, asked: Asked, route: str, rounds: int
) -> None:
    ask = ROUTES[route]
    peer, ours = [], []
    for number in range(rounds):
        one = (peer, lambda: raw.mp4(asked))
        other = (ours, lambda: ask(client, model, asked))
        for times, make in (one, other) if number % 2 else (other, one):
            times.append(timed(make))
    compared(f"{model}, {route}", peer, ours)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MOTION)
    parser.add_argument("--base", type=Path, default=SHAPES, help="what a motion adapter stands on")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--routes", nargs="+", choices=list(ROUTES), default=list(ROUTES))
    parser.add_argument("--size", default="128x128")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu", help="as in ONEBOX_DEVICE")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    asked = Asked(width=width, height=height, frames=given.frames, steps=given.steps)
    raw = RawVideos(given.model, given.base, given.device)
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        for path in {given.model, given.base}:
            shutil.copytree(path, models / path.name)
        with (
            running_server(Path(folder) / "data", models, ONEBOX_DEVICE=given.device) as server,
            server.client() as client,
        ):
            name = given.model.name
            print(
                f"{name}, {given.size}, {given.frames} frames, {given.steps} steps: pixels "
                f"{apart(client, raw, name, asked):.2f} of 255 apart"
            )
            for route in given.routes:
                in_turns(client, raw, name, asked, route, given.rounds)


if __name__ == "__main__":
    main()
