"""How soon a long text is heard: the first byte of its sound, beside its first sentence's time.

    python -m benchmarks.speech_out --model FOLDER [--rounds 6] [--format wav] [--json FILE]

A text of ten sentences is streamed through `POST /v1/audio/speech`. In turns with it the same
server speaks the first sentence alone, and tells what that took on the device; and the whole text,
whose time shows that nobody waited for it. Then it is streamed once more while another process asks
`/health`. Values are printed as they come, and a table of what is there whatever ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import httpx

from benchmarks.figures import percentile, table
from benchmarks.health import Watch, watch_on
from benchmarks.peers import onebox, peer_of

# What follows the first is short, so that a round is: nobody should wait for it.
SENTENCES = (
    "The harbour lay quiet under the first light of the morning.",
    "Two boats had come in during the night.",
    "Their crews were still asleep.",
    "On the quay a woman counted the boxes.",
    "There were 148 of them.",
    "Three had lost their labels on the way.",
    "A gull watched her from a roof.",
    "At half past seven the train came.",
    "The gull spread its wings and left.",
    "The day could begin.",
)
TARGET = 1.3
HEALTH_EVERY_S = 0.02
HEALTH_MOST_S = 0.02
# At least so long, which makes some hundreds of answers.
HEALTH_S = 10.0
WARM_UP_ROUNDS = 1


@dataclass(slots=True)
class Measured:
    """Seconds, one of each a round.

    Attributes:
        sentence: the first sentence on the device, by the server's own clock.
        first_byte, last_byte: of the whole text through HTTP, since it was asked for.
    """

    sentence: list[float] = field(default_factory=list)
    first_byte: list[float] = field(default_factory=list)
    last_byte: list[float] = field(default_factory=list)


def main() -> None:
    arguments = parse_arguments()
    # So that the server is ended with it, and what was measured is shown.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(onebox(arguments.model.parent))
        client = stack.enter_context(server.client())
        there = peer_of(server)
        watch = stack.enter_context(watch_on(there.host, there.port, HEALTH_EVERY_S))
        run(client, watch, arguments)


def run(client: httpx.Client, watch: Watch, arguments: argparse.Namespace) -> None:
    """Warm up, all rounds, and as many seconds again with `/health`."""
    model, sound, measured = arguments.model.name, arguments.format, Measured()
    for _ in range(WARM_UP_ROUNDS):
        measure(client, model, sound, Measured())
    try:
        for number in range(arguments.rounds):
            measure(client, model, sound, measured)
            first, last = measured.first_byte[-1], measured.last_byte[-1]
            told = f"first byte {first * 1000:.0f} ms, last byte {last * 1000:.0f} ms"
            sentence = f"sentence {measured.sentence[-1] * 1000:.0f} ms"
            print(f"round {number + 1}: {sentence}, {told}", flush=True)
        with watch.watching():
            end = time.perf_counter() + HEALTH_S
            while time.perf_counter() < end:
                stream(client, model, sound, 0)
    finally:
        health = [one.since_asked_s for one in watch.times]
        if measured.last_byte:
            show(measured, health)
        if arguments.json:
            told = json.dumps({**asdict(measured), "health": health}, indent=1)
            arguments.json.write_text(told, encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of a voice")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--format", default="wav", help="of the sound, as in `response_format`")
    parser.add_argument("--json", type=Path, help="write all values there")
    return parser.parse_args()


def measure(client: httpx.Client, model: str, sound: str, measured: Measured) -> None:
    """One round: either comes first as often as the other. Both have the same random numbers."""
    seed = random.randrange(2**32)
    turns = [
        lambda: measured.sentence.append(speak(client, model, sound, seed)),
        lambda: keep(measured, stream(client, model, sound, seed)),
    ]
    random.shuffle(turns)
    for turn in turns:
        turn()


def keep(measured: Measured, times: tuple[float, float]) -> None:
    first, last = times
    measured.first_byte.append(first)
    measured.last_byte.append(last)


def speak(client: httpx.Client, model: str, sound: str, seed: int) -> float:
    """Seconds of the first sentence alone, without what HTTP takes."""
    body = {"model": model, "input": SENTENCES[0], "response_format": sound, "seed": seed}
    answer = client.post("/v1/tasks/speech", json=body, headers={"Accept": "application/json"})
    return float(answer.raise_for_status().json()["timing"]["run_s"])


def stream(client: httpx.Client, model: str, sound: str, seed: int) -> tuple[float, float]:
    """Seconds until the first and the last byte of the sound of all sentences.

    The header of a WAV file is no sound: it does not count.
    """
    body = {
        "model": model,
        "input": " ".join(SENTENCES),
        "voice": "default",
        "response_format": sound,
        "seed": seed,
    }
    first, received = None, 0
    started = time.perf_counter()
    with client.stream("POST", "/v1/audio/speech", json=body) as answer:
        answer.raise_for_status()
        for part in answer.iter_raw():
            received += len(part)
            if first is None and received > (44 if sound == "wav" else 0):
                first = time.perf_counter() - started
    if first is None:
        raise SystemExit("the server sent no sound")
    return first, time.perf_counter() - started


def show(measured: Measured, health: list[float]) -> None:
    rows = [
        (name, f"{median(times) * 1000:.0f}", f"{percentile(times, 0.9) * 1000:.0f}")
        for name, times in (
            ("first sentence on the device", measured.sentence),
            ("first byte of ten sentences", measured.first_byte),
            ("last byte of ten sentences", measured.last_byte),
        )
    ]
    print(table(("ms", "median", "p90"), rows))
    ratio = median(measured.first_byte) / median(measured.sentence)
    verdict = "reached" if ratio <= TARGET else "missed"
    print(f"\nfirst byte / first sentence: {ratio:.2f}; target {TARGET}: {verdict}")
    share = median(measured.first_byte) / median(measured.last_byte)
    print(f"first byte after {share:.0%} of the time of the whole text")
    worst = percentile(health, 0.99)
    verdict = "reached" if worst <= HEALTH_MOST_S else "missed"
    print(
        f"/health p99 meanwhile {worst * 1000:.1f} ms; target {HEALTH_MOST_S * 1000:.0f}: {verdict}"
    )


if __name__ == "__main__":
    main()
