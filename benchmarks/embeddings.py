"""Texts a second through HTTP, beside infinity and sentence-transformers behind a FastAPI route.

    python -m benchmarks.embeddings --model FOLDER [--infinity PROGRAM] [--onnx FOLDER]
        [--sentence-transformers PYTHON] [--rounds 3] [--clients 1,8,64] [--items 1000]
        [--texts 128] [--seconds 20] [--json FILE]

Texts have 8 to 200 words of the model's vocabulary. All servers stay loaded and are asked in turns,
in another order each round, the same texts in the same order; peers are stopped (SIGSTOP) while it
is not theirs. Before anything is timed their vectors are compared. `--onnx` is a folder that
infinity's ONNX engine can load. A peer that is not given is left out. Another process asks
`/health` while Onebox works. Values are printed and kept as they come: whatever ends it, a table of
what is there is printed.

A short run: `--rounds 1 --clients 8 --items 100 --texts 16`.

Peers, each in an environment of its own:

    python3 -m venv INFINITY
    INFINITY/bin/pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
    INFINITY/bin/pip install "infinity-emb[server,torch,optimum,cache]==0.0.77" \\
        transformers==4.48.3 tokenizers==0.21.4 huggingface-hub==0.36.2 optimum==1.24.0 \\
        sentence-transformers==3.4.1 onnx==1.23.2 onnxruntime==1.31.1 numpy==1.26.4 \\
        scipy==1.15.3 scikit-learn==1.7.2 datasets==3.6.0 pyarrow==19.0.1 pandas==2.3.3 \\
        click==8.1.8 typer==0.12.5 fastapi==0.165.0 starlette==1.10.0 uvicorn==0.32.1
    INFINITY/bin/python benchmarks/sentence_onnx.py FOLDER ONNX-FOLDER
    python3 -m venv SENTENCE
    SENTENCE/bin/pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
    SENTENCE/bin/pip install sentence-transformers==6.2.0 transformers==5.23.0 fastapi uvicorn

transformers 4.48 is the last that optimum's BetterTransformer knows, which infinity's torch engine
computes with. At its first start the ONNX engine writes an optimised graph beside the given one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import numpy as np

from benchmarks.embeddings_peers import Running, infinity, onebox_on, sentence_transformers
from benchmarks.figures import markdown, percentile
from benchmarks.health import Watch, watch_on
from benchmarks.raw_http import Connection, request_bytes, run_fast
from onebox.core.os_support import usable_cpus

WORDS = range(8, 201)
COMPARED = 32
# A peer that is farther off than this computes something else.
LEAST_COSINE = 0.999
HEALTH_EVERY_S = 0.1
HEALTH_MOST_S = 0.02
# Ours in float32 against the torch engines, in bfloat16 against the ONNX engine.
TARGETS = {("float32", "torch"): 1.2, ("bfloat16", "onnx"): 1.1}


class Case(NamedTuple):
    """So many clients at a time, each request with so many texts."""

    clients: int
    items: int = 1

    def __str__(self) -> str:
        return f"at {self.clients}" if self.items == 1 else f"one of {self.items}"


@dataclass(slots=True)
class Results:
    """Texts a second by server and case, a value for each round; seconds until /health answered."""

    rates: dict[str, dict[Case, list[float]]]
    health: list[float] = field(default_factory=list)

    def write(self, file: Path) -> None:
        told = {
            name: {str(case): values for case, values in by_case.items()}
            for name, by_case in self.rates.items()
        }
        file.write_text(json.dumps({"texts/s": told, "health_s": self.health}, indent=1))


def main() -> None:
    arguments = parse_arguments()
    # So that the servers are ended with it, and what was measured is shown.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    texts = Texts(arguments.model, arguments.seed)
    cases = [Case(clients) for clients in arguments.clients]
    cases += [Case(1, arguments.items)] if arguments.items else []
    with contextlib.ExitStack() as stack:
        servers = start(arguments, stack)
        compare(servers, texts.some(COMPARED))
        ours = urlsplit(servers[0].url)
        watch = stack.enter_context(watch_on(str(ours.hostname), ours.port or 0, HEALTH_EVERY_S))
        results = Results({server.name: {case: [] for case in cases} for server in servers})
        try:
            for number in range(arguments.rounds):
                run_round(number, servers, texts, results, watch, arguments)
        finally:
            show(results, servers)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder with safetensors")
    parser.add_argument("--infinity", type=Path, help="the program `infinity_emb`")
    parser.add_argument("--onnx", type=Path, help="folder for infinity's ONNX engine")
    parser.add_argument("--sentence-transformers", type=Path, help="a Python that has it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=numbers, default=[1, 8, 64], help="at a time: 1,8,64")
    parser.add_argument("--items", type=int, default=1000, help="of the one request; 0: no such")
    parser.add_argument("--texts", type=int, default=128, help="of each server, round and case")
    parser.add_argument("--seconds", type=float, default=20, help="then no more texts are sent")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="written again after each value")
    return parser.parse_args()


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


class Texts:
    """Never twice the same text, so that nobody has one in a cache.

    Lengths come in decks, so that a few dozens have the mix of lengths of many.
    """

    def __init__(self, model: Path, seed: int) -> None:
        vocabulary = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]
        self._words = sorted(word for word in vocabulary if word.isalpha() and len(word) > 2)
        self._random = random.Random(seed)

    def some(self, count: int) -> list[str]:
        pick, lengths = self._random, list[int]()
        while len(lengths) < count:
            deck = list(WORDS)[pick.randrange(8) :: 8]
            lengths += pick.sample(deck, len(deck))
        return [" ".join(pick.choices(self._words, k=length)) for length in lengths[:count]]


def start(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> list[Running]:
    """Onebox first, in float32 and in bfloat16. Says which peers are left out."""
    model, threads = arguments.model.resolve(), usable_cpus()
    program, python = arguments.infinity, arguments.sentence_transformers
    servers = list(stack.enter_context(onebox_on(model)))
    peers = {
        "infinity torch": program and infinity(program, model, "torch", threads),
        "infinity ONNX": program
        and arguments.onnx
        and infinity(program, arguments.onnx.resolve(), "optimum", threads),
        "sentence-transformers": python and sentence_transformers(python, model, threads),
    }
    for name, peer in peers.items():
        if not peer:
            print(f"left out: {name}", flush=True)
            continue
        began = time.perf_counter()
        servers.append(stack.enter_context(peer))
        servers[-1].stop()
        print(f"started: {name}, {time.perf_counter() - began:.0f} s", flush=True)
    return servers


def compare(servers: Sequence[Running], texts: Sequence[str]) -> None:
    """Print how far each server's vectors are from the first one's. Also warms them up."""
    wanted: Any = None
    for server in servers:
        with server.awake():
            answer = httpx.post(
                server.url, json=server.body(texts), headers=server.headers, timeout=300
            )
        data = answer.raise_for_status().json()["data"]
        vectors = np.array([item["embedding"] for item in data])
        wanted = vectors if wanted is None else wanted
        off = float(np.abs(vectors - wanted).max())
        near = float((vectors * wanted).sum(axis=1).min())
        print(f"{server.name}: off by at most {off:.1e}, cosine at least {near:.6f}", flush=True)
        if near < LEAST_COSINE:
            raise SystemExit(f"{server.name} computes other vectors")


def run_round(
    number: int,
    servers: Sequence[Running],
    texts: Texts,
    results: Results,
    watch: Watch,
    arguments: argparse.Namespace,
) -> None:
    shift = number % len(servers)
    for case in results.rates[servers[0].name]:
        made = texts.some(arguments.texts if case.items == 1 else case.items)
        for server in [*servers[shift:], *servers[:shift]]:
            watching = watch.watching() if server.engine == "ours" else contextlib.nullcontext()
            with server.awake(), watching:
                done, took = run_fast(ask_all(server, case, made, arguments.seconds))
            results.rates[server.name][case].append(done / took)
            results.health = [one.since_asked_s for one in watch.times]
            told = f"{done / took:.1f} texts/s ({done} in {took:.1f} s)"
            print(f"round {number + 1}, {case}, {server.name}: {told}", flush=True)
            if arguments.json:
                results.write(arguments.json)


async def ask_all(
    server: Running, case: Case, texts: Sequence[str], most_s: float
) -> tuple[int, float]:
    """How many texts were answered, and the seconds from the first request to the last answer."""
    there = urlsplit(server.url)
    parts = [texts[first : first + case.items] for first in range(0, len(texts), case.items)]
    requests = [
        request_bytes("POST", there.path, server.body(part), key=server.key)
        for part in reversed(parts)
    ]
    opening = [
        Connection.open(str(there.hostname), there.port or 0)
        for _ in range(min(case.clients, len(parts)))
    ]
    connections = await asyncio.gather(*opening)
    done, began = 0, time.perf_counter()

    async def client(connection: Connection) -> None:
        nonlocal done
        while requests and time.perf_counter() < began + most_s:
            answer = await connection.ask(requests.pop())
            if answer.status != 200:
                raise RuntimeError(f"{server.name} answered {answer.status}")
            done += case.items

    await asyncio.gather(*(client(connection) for connection in connections))
    took = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return done, took


def show(results: Results, servers: Sequence[Running]) -> None:
    """Medians, and medians of the ratios by round with the least and the most of them."""
    cases = list(results.rates[servers[0].name])
    rows = [
        (name, *(f"{median(values):.0f}" if values else "-" for values in by_case.values()))
        for name, by_case in results.rates.items()
    ]
    print("\n" + markdown(["texts/s", *map(str, cases)], rows) + "\n")
    rows = []
    for ours in (server for server in servers if server.engine == "ours"):
        for peer in (server for server in servers if server.engine != "ours"):
            target = TARGETS.get((ours.dtype, peer.engine))
            both = [
                (results.rates[ours.name][case], results.rates[peer.name][case]) for case in cases
            ]
            told = [f"at least {target}" if target else ""]
            rows.append((f"{ours.name} / {peer.name}", *(ratio(*pair) for pair in both), *told))
    if rows:
        print(markdown(["ratio", *map(str, cases), "target"], rows) + "\n")
    p99 = percentile(results.health, 0.99) * 1000
    slowest = max(results.health, default=0) * 1000
    print(
        f"/health while Onebox works: p99 {p99:.1f} ms, slowest {slowest:.1f} ms of "
        f"{len(results.health)} (p99 at most {HEALTH_MOST_S * 1000:g})",
        flush=True,
    )


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    found = [one / other for one, other in zip(ours, theirs, strict=False)]
    return f"{median(found):.2f} ({min(found):.2f}-{max(found):.2f})" if found else "-"


if __name__ == "__main__":
    main()
