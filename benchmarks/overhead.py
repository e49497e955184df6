"""What a picture costs through the server, against the same pipeline called in this process.

Both sides make the same picture: same steps, dtype, threads, seed, PNG encoding. They take turns in
one run, so that whatever the machine does meanwhile hits both.

    .venv/bin/python -m benchmarks.overhead [--rounds 15]
"""

from __future__ import annotations

import argparse
import base64
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from onebox.core.os_support import usable_cpus
from onebox.hardware.backend import TorchBackend
from onebox.hardware.detector import choose, detect
from onebox.hardware.threads import torch_threads
from tests.support.server import ROOT, running_server

MODEL = "onebox-shapes"
PROMPT = "a red circle on a blue background"
STEPS = 20
SIZE = 256
GUIDANCE = 7.5
SEED = 42


def raw_pipeline() -> Callable[[], bytes]:
    """A function that makes the picture in this process and returns its PNG."""
    import torch
    from diffusers import AutoPipelineForText2Image

    (device,) = choose(detect(TorchBackend()), ["cpu"])
    torch.set_num_threads(torch_threads(None, usable_cpus()))
    dtype: Any = {"default": getattr(torch, device.dtype), "vae": getattr(torch, device.vae_dtype)}
    auto_class: Any = AutoPipelineForText2Image
    pipeline = auto_class.from_pretrained(ROOT / "ai-models" / MODEL, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)

    def make() -> bytes:
        with torch.inference_mode():
            image = pipeline(
                PROMPT,
                num_inference_steps=STEPS,
                width=SIZE,
                height=SIZE,
                guidance_scale=GUIDANCE,
                generator=torch.Generator("cpu").manual_seed(SEED),
            ).images[0]
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()

    return make


def through_http(client: httpx.Client) -> bytes:
    body = {
        "model": MODEL,
        "prompt": PROMPT,
        "size": f"{SIZE}x{SIZE}",
        "steps": STEPS,
        "guidance_scale": GUIDANCE,
        "seed": SEED,
    }
    answer = client.post("/v1/images/generations", json=body).raise_for_status().json()
    return base64.b64decode(answer["data"][0]["b64_json"])


def timed(make: Callable[[], bytes]) -> float:
    started = time.perf_counter()
    make()
    return time.perf_counter() - started


def same_pixels(first: bytes, second: bytes) -> bool:
    from PIL import Image

    return Image.open(io.BytesIO(first)).tobytes() == Image.open(io.BytesIO(second)).tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    make = raw_pipeline()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(Path(folder) / "data", ROOT / "ai-models") as server,
        server.client() as client,
    ):
        equal = same_pixels(make(), through_http(client))
        raw, http = [], []
        for _ in range(rounds):
            raw.append(timed(make))
            http.append(timed(lambda: through_http(client)))
    ratios = sorted(there / here for here, there in zip(raw, http, strict=True))
    print(f"same pixels on both sides: {equal}")
    here, there, by_round = map(statistics.median, (raw, http, ratios))
    print(f"raw diffusers, median: {here:.3f} s; through HTTP: {there:.3f} s")
    print(f"ratio of medians: {there / here:.3f}")
    print(f"ratio by round: median {by_round:.3f}, from {ratios[0]:.3f} to {ratios[-1]:.3f}")


if __name__ == "__main__":
    main()
