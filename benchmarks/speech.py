"""Speech, beside its peers, which run in processes of their own with as many threads.

    python -m benchmarks.speech transcription --model FOLDER --clips FOLDER
        [--faster-whisper PYTHON --ct2 FOLDER] [--transformers PYTHON]
        [--minutes 6] [--rounds 3] [--json FILE]

`transcription`: minutes of speech of known text (clips joined with pauses), how many times faster
than they last, and the word error rate. Onebox is asked through HTTP, its peers in Python; they
take turns, in another order each round. Each of them hears the recording of a round once, and
Onebox once more, while another process asks `/health`. A peer that is not given is left out; with
--transformers it takes several times as long. Values are printed and kept as they come: whatever
ends it, a table of what is there is printed.

A short run: `--rounds 1 --minutes 0.5`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.figures import markdown, percentile
from benchmarks.health import Watch, watch_on
from benchmarks.peers import peer_of
from benchmarks.speech_audio import Recording, join, read_clips, word_error_rate
from benchmarks.speech_listeners import OURS, Listener, onebox_on, peer
from onebox.core.os_support import usable_cpus

SEQUENTIAL = "faster-whisper, float32"
BATCHED = "faster-whisper, int8, batches of 8"
PIPELINE = "transformers pipeline"
# At least so many times as fast as these.
TARGETS = {SEQUENTIAL: 1.2, BATCHED: 1.0}
# At most so many points of word errors more than the best of them.
WORSE_POINTS = 0.5
HEALTH_EVERY_S = 0.02
HEALTH_MOST_S = 0.02
WARM_UP_S = 40.0


@dataclass(slots=True)
class Measured:
    """Of one listener, a value for each round."""

    times_real: list[float] = field(default_factory=list)
    word_errors: list[float] = field(default_factory=list)


def main() -> None:
    arguments = parse_arguments()
    # So that the servers are ended with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments.run(arguments)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("transcription")
    part.set_defaults(run=transcription)
    part.add_argument("--model", type=Path, required=True, help="a Whisper's folder")
    part.add_argument("--clips", type=Path, required=True, help="folder with transcripts.tsv")
    part.add_argument("--faster-whisper", type=Path, help="an interpreter that has it")
    part.add_argument("--ct2", type=Path, help="the same model, converted for it")
    part.add_argument("--transformers", type=Path, help="an interpreter that has it and PyAV")
    part.add_argument("--minutes", type=float, default=6.0)
    part.add_argument("--rounds", type=int, default=3)
    part.add_argument("--threads", type=int, default=usable_cpus())
    part.add_argument("--seed", type=int, default=1)
    part.add_argument("--json", type=Path)
    return parser.parse_args()


def transcription(arguments: argparse.Namespace) -> None:
    clips = read_clips(arguments.clips)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, ours = stack.enter_context(onebox_on(arguments.model.resolve(), arguments.threads))
        listeners = [ours, *start_peers(arguments, stack)]
        warm_up(listeners, join(clips, WARM_UP_S, folder / "warm.wav", arguments.seed))
        results = {listener.name: Measured() for listener in listeners}
        there = peer_of(server)
        watch = stack.enter_context(watch_on(there.host, there.port, HEALTH_EVERY_S))
        try:
            for number in range(arguments.rounds):
                seed = arguments.seed + 1 + number
                file = folder / f"round{number}.wav"
                recording = join(clips, arguments.minutes * 60, file, seed)
                shift = number % len(listeners)
                turns = [*listeners[shift:], *listeners[:shift]]
                run_round(number, turns, ours, recording, results, watch)
                if arguments.json:
                    write(results, watch, arguments.json)
        finally:
            show(results, [one.since_asked_s for one in watch.times])


def start_peers(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> list[Listener]:
    """Says which are left out."""
    wanted = []
    if arguments.faster_whisper and arguments.ct2:
        python, model = arguments.faster_whisper, arguments.ct2.resolve()
        wanted.append((SEQUENTIAL, "faster-whisper", python, model))
        wanted.append((BATCHED, "faster-whisper-batched", python, model))
    else:
        print("left out: faster-whisper (no --faster-whisper, or no --ct2)", flush=True)
    if arguments.transformers:
        python, model = arguments.transformers, arguments.model.resolve()
        wanted.append((PIPELINE, "transformers", python, model))
    else:
        print("left out: the transformers pipeline (no --transformers)", flush=True)
    return [stack.enter_context(peer(*one, arguments.threads)) for one in wanted]


def warm_up(listeners: Sequence[Listener], recording: Recording) -> None:
    for listener in listeners:
        listener.transcribe(recording.file)


def run_round(
    number: int,
    turns: Sequence[Listener],
    ours: Listener,
    recording: Recording,
    results: dict[str, Measured],
    watch: Watch,
) -> None:
    for listener in turns:
        heard = listener.transcribe(recording.file)
        times, errors = (
            recording.seconds / heard.seconds,
            word_error_rate(recording.text, heard.text),
        )
        results[listener.name].times_real.append(times)
        results[listener.name].word_errors.append(errors)
        told = f"{heard.seconds:.1f} s, {times:.1f} times real time, word errors {errors:.1%}"
        print(f"round {number + 1}, {recording.seconds:.0f} s, {listener.name}: {told}", flush=True)
    # Apart from the timed run, so that asking costs it nothing.
    with watch.watching():
        ours.transcribe(recording.file)


def write(results: dict[str, Measured], watch: Watch, file: Path) -> None:
    told = {name: asdict(measured) for name, measured in results.items()}
    health = [one.since_asked_s for one in watch.times]
    file.write_text(json.dumps({"results": told, "health_s": health}, indent=1))


def show(results: dict[str, Measured], health: Sequence[float]) -> None:
    """Medians over the rounds that are there, and of the ratios by round."""
    done = {name: measured for name, measured in results.items() if measured.times_real}
    rows = [
        (
            name,
            f"{median(measured.times_real):.1f}",
            f"{median(measured.word_errors):.1%}",
            ", ".join(f"{value:.1%}" for value in measured.word_errors),
        )
        for name, measured in done.items()
    ]
    header = ("who", "times real time", "word error rate", "by round")
    print("\n" + markdown(header, rows) + "\n")
    ours = done.pop(OURS, Measured())
    for name, target in TARGETS.items():
        theirs = done.get(name, Measured()).times_real
        ratios = [one / other for one, other in zip(ours.times_real, theirs, strict=False)]
        if ratios:
            all_of_them = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"Onebox / {name}: {median(ratios):.2f} of {all_of_them} (at least {target})")
    if done and ours.word_errors:
        best = min(median(other.word_errors) for other in done.values())
        worse = (median(ours.word_errors) - best) * 100
        print(f"word errors beyond the best: {worse:+.2f} points (at most {WORSE_POINTS})")
    p99 = percentile(health, 0.99) * 1000
    told = f"{len(health)} (at most {HEALTH_MOST_S * 1e3:g})"
    print(f"/health meanwhile: p99 {p99:.1f} ms of {told}", flush=True)


if __name__ == "__main__":
    main()
