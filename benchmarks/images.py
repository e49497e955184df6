"""Pictures through HTTP against the same pipeline called in this process by plain diffusers.

Both sides draw the same: steps, dtype, threads, seed, PNG encoding. They take turns in one run, so
that whatever the machine does meanwhile hits both.

    .venv/bin/python -m benchmarks.images [--rounds 9] [--parts http together partials inpainting]
        [--model FOLDER] [--device cuda:0] [--size 1024] [--steps 30]
"""

from __future__ import annotations

import argparse
import base64
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from benchmarks.inpainting import inpaint_cases
from benchmarks.raw_pictures import Asked, RawPipeline
from tests.support.server import ROOT, running_server

SHAPES = ROOT / "ai-models" / "onebox-shapes"
PARTS = ("http", "together", "partials", "inpainting")
CASES = 50


def drawn(client: httpx.Client, model: str, asked: Asked) -> bytes:
    answer = client.post("/v1/images/generations", json=asked.body(model)).raise_for_status()
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


def timed(make: Callable[[], object]) -> float:
    started = time.perf_counter()
    make()
    return time.perf_counter() - started


def compared(name: str, peer: Sequence[float], ours: Sequence[float]) -> None:
    """Prints medians, and the ratio ours : peer of the medians and of each round."""
    ratios = sorted(there / here for here, there in zip(peer, ours, strict=True))
    here, there = statistics.median(peer), statistics.median(ours)
    print(
        f"{name}: peer {here:.3f} s, ours {there:.3f} s, ratio {there / here:.3f} "
        f"(by round: median {statistics.median(ratios):.3f}, {ratios[0]:.3f} to {ratios[-1]:.3f})"
    )


def one_by_one(client: httpx.Client, raw: RawPipeline, model: str, asked: Asked, n: int) -> None:
    peer, ours = [], []
    for _ in range(n):
        peer.append(timed(lambda: raw.png(asked)))
        ours.append(timed(lambda: drawn(client, model, asked)))
    compared("one picture through HTTP against raw", peer, ours)


def together(client: httpx.Client, raw: RawPipeline, model: str, asked: Asked, n: int) -> None:
    """Four requests, of which three come while the first is drawn, against four raw calls."""
    four = [Asked(asked.prompt, asked.size, asked.steps, asked.guidance_scale, s) for s in range(4)]
    peer, ours = [], []
    for _ in range(n):
        peer.append(timed(lambda: [raw.png(one) for one in four]))
        ours.append(timed(lambda: _four(client, model, four)))
    compared("four requests, three while one runs, against four raw calls", peer, ours)


def _four(client: httpx.Client, model: str, four: Sequence[Asked]) -> None:
    first, *rest = [threading.Thread(target=drawn, args=(client, model, asked)) for asked in four]
    first.start()
    while not _runs(client):
        time.sleep(0.005)
    for thread in rest:
        thread.start()
    for thread in (first, *rest):
        thread.join()


def _runs(client: httpx.Client) -> bool:
    """Whether the first has begun to draw."""
    requests = client.get("/v1/status").raise_for_status().json()["running"]["requests"]
    return any(request["step"] > 0 for request in requests)


def partials(client: httpx.Client, model: str, asked: Asked, n: int) -> None:
    """When the first partial picture comes, and what three of them cost.

    Drawing starts a step before the first step's end is told.
    """
    without, having, first, asked_at = [], [], [], []
    for _ in range(n):
        without.append(streamed(client, asked.task(model))[-1][1])
        times = streamed(client, asked.task(model, partial_images=3))
        having.append(times[-1][1])
        ends = [at for name, at in times if name == "progress"]
        step_s = statistics.median(b - a for a, b in itertools.pairwise(ends))
        shown = next(at for name, at in times if name == "delta")
        first.append((shown - ends[0]) / step_s + 1)
        asked_at.append(shown / step_s)
    compared("three partial pictures against none", without, having)
    print(
        f"first partial picture: {statistics.median(first):.2f} steps after drawing starts, "
        f"{statistics.median(asked_at):.2f} after the request"
    )


def streamed(client: httpx.Client, body: dict[str, object]) -> list[tuple[str, float]]:
    """Each event's name, and seconds from the request to it."""
    started, seen = time.perf_counter(), []
    headers = {"Accept": "text/event-stream"}
    with client.stream("POST", "/v1/tasks/text-to-image", json=body, headers=headers) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line.startswith("event: "):
                seen.append((line.removeprefix("event: "), time.perf_counter() - started))
    return seen


def inpainting(client: httpx.Client, model: str) -> None:
    cases = list(inpaint_cases(client, model, CASES))
    right = sum(case.is_right for case in cases)
    kept = sum(case.is_kept for case in cases)
    print(f"inpainting: {right} of {CASES} masks took the asked colour; rest kept in {kept}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--model", type=Path, default=SHAPES)
    parser.add_argument("--device", default="cpu", help="as in ONEBOX_DEVICE")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    asked = Asked(size=given.size, steps=given.steps)
    model = given.model.name
    raw = RawPipeline(given.model, given.device)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(
            Path(folder) / "data", given.model.parent, ONEBOX_DEVICE=given.device
        ) as server,
        server.client() as client,
    ):
        raw.png(asked)
        drawn(client, model, asked)
        for part in given.parts:
            if part == "http":
                one_by_one(client, raw, model, asked, given.rounds)
            elif part == "together":
                together(client, raw, model, asked, given.rounds)
            elif part == "partials":
                partials(client, model, asked, given.rounds)
            else:
                inpainting(client, model)


if __name__ == "__main__":
    main()
