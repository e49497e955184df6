"""Chat through HTTP, beside `transformers serve` and llama.cpp's `llama-server`.

    python -m benchmarks.chat --model FOLDER [--transformers PROGRAM] [--llama-server PROGRAM]
        [--gguf f16=FILE --gguf Q4_1=FILE] [--rounds 5] [--json FILE] [--no-figures]

All servers stay loaded and are asked in turns, in another order each round; peers are stopped
(SIGSTOP) while it is not theirs. Each of the clients asks for an answer of exactly `--tokens`
tokens to a prompt of exactly `--prompt-tokens`, `--requests` times, each time another prompt.
Figures are medians over the rounds. A peer that is not given is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import chat_figures
from benchmarks.chat_client import side_by_side
from benchmarks.chat_figures import Figure
from benchmarks.chat_inside import Decoder, Library, benchmark_device
from benchmarks.chat_peers import Running, llama_server, onebox_on, transformers_serve
from benchmarks.chat_prompts import Prompts
from benchmarks.figures import markdown
from benchmarks.raw_http import run_fast
from onebox.core.os_support import usable_cpus

STATIC = "model.generate, static batch"
WARM_UP_TOKENS = 4
OURS = "Onebox"
# At each concurrency, at least so many times the best of these.
TARGETS = {
    "transformers serve": {1: 1.2, 4: 2.0, 16: 2.0},
    "llama-server": {1: 0.7, 4: 1.0, 16: 1.0},
    STATIC: {16: 0.8},
}


@dataclass(slots=True)
class Measured:
    """Of one server at one concurrency, a value for each round."""

    tokens_per_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    wrong: int = 0  # answers of another number of tokens


Results = dict[str, dict[int, Measured]]


def main() -> None:
    arguments = parse_arguments()
    # So that the servers are ended with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    prompts = Prompts(arguments.model, arguments.seed)
    device = benchmark_device()
    library = Library(arguments.model, device)
    with contextlib.ExitStack() as stack:
        servers = start(arguments, stack)
        results = measure(servers, library, prompts, arguments)
        figures: Sequence[Figure] = ()
        if arguments.figures:
            figures = measure_figures(servers[0], library, prompts, arguments)
    show(results, figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(results, figures, arguments), indent=2))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder with safetensors")
    parser.add_argument("--transformers", type=Path, help="the program `transformers`")
    parser.add_argument("--llama-server", type=Path, help="the program `llama-server`")
    parser.add_argument("--gguf", action="append", default=[], metavar="KIND=FILE")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2, help="of each client in a round")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--figures", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def start(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> list[Running]:
    """Onebox first. Says which peers are left out."""
    model = arguments.model.resolve()
    servers = [stack.enter_context(onebox_on(model))]
    if arguments.transformers:
        for continuous in (False, True):
            peer = transformers_serve(arguments.transformers, model, continuous=continuous)
            servers.append(stack.enter_context(peer))
    else:
        print("left out: transformers serve (no --transformers)")
    if not (arguments.llama_server and arguments.gguf):
        print("left out: llama-server (no --llama-server, or no --gguf)")
        return servers
    for given in arguments.gguf:
        kind, _, file = given.partition("=")
        peer = llama_server(arguments.llama_server, Path(file).resolve(), kind, usable_cpus())
        servers.append(stack.enter_context(peer))
    return servers


def measure(
    servers: Sequence[Running],
    library: Library,
    prompts: Prompts,
    arguments: argparse.Namespace,
) -> Results:
    names = [server.asked.name for server in servers] + [STATIC]
    counts = arguments.concurrency
    results: Results = {name: {count: Measured() for count in counts} for name in names}
    for server in servers:
        with server.awake() as asked:
            for count in counts:
                warm = prompts.many(count, arguments.prompt_tokens)
                run_fast(side_by_side(asked, warm, count, WARM_UP_TOKENS))
    for number in range(arguments.rounds):
        shift = number % len(servers)
        for count in counts:
            for server in [*servers[shift:], *servers[:shift]]:
                measure_one(server, count, prompts, arguments, results)
            batch = [prompts.ids(prompts.of(arguments.prompt_tokens))] * count
            rate = library.batch_tokens_per_s(batch, arguments.tokens)
            results[STATIC][count].tokens_per_s.append(rate)
        print(f"round {number + 1} of {arguments.rounds} done")
    return results


def measure_one(
    server: Running,
    count: int,
    prompts: Prompts,
    arguments: argparse.Namespace,
    results: Results,
) -> None:
    asked = prompts.many(count * arguments.requests, arguments.prompt_tokens)
    with server.awake() as awake:
        done = run_fast(side_by_side(awake, asked, count, arguments.tokens))
    found = results[server.asked.name][count]
    found.tokens_per_s.append(done.tokens_per_s)
    found.first_s.append(median(answer.first_s for answer in done.answers))
    found.wrong += sum(
        (answer.tokens, answer.prompt_tokens) != (arguments.tokens, arguments.prompt_tokens)
        for answer in done.answers
    )


def measure_figures(
    server: Running, library: Library, prompts: Prompts, arguments: argparse.Namespace
) -> list[Figure]:
    """Of Onebox alone: the peers are all stopped by now."""
    decoder = Decoder(arguments.model.resolve(), benchmark_device())
    decoder.alone(prompts.ids(prompts.of(arguments.prompt_tokens)), WARM_UP_TOKENS)
    rounds, tokens = arguments.rounds, arguments.tokens
    made = chat_figures
    with server.awake() as asked:
        return [
            run_fast(work)
            for work in (
                made.first_token(asked, library, prompts, arguments.prompt_tokens, rounds),
                made.long_prompt(asked, prompts, rounds),
                made.second_turn(asked, prompts, rounds),
                made.overhead(asked, decoder, prompts, max(tokens, 2), rounds),
                made.deterministic(asked, prompts, tokens, rounds),
            )
        ]


def show(results: Results, figures: Sequence[Figure]) -> None:
    counts = list(results[OURS])
    header = [f"tokens/s at {count}" for count in counts]
    header += [f"first token, ms, at {count}" for count in counts]
    rows = []
    for name, by_count in results.items():
        rates = [f"{median(one.tokens_per_s):.0f}" for one in by_count.values()]
        rows.append((name, *rates, *map(first_ms, by_count.values())))
    print(markdown(("server", *header), rows))
    wrong = {name: sum(one.wrong for one in by.values()) for name, by in results.items()}
    print(f"\nanswers or prompts of a wrong length: {wrong}\n")
    lines = [(f"{OURS} / {peer}", *shares) for peer, shares in compared(results).items()]
    print(markdown(("ratio", *(f"at {count}" for count in counts)), lines))
    told = [
        (one.what, f"{one.value:.2f} {one.unit}".strip(), str(one.target or "-"), one.how)
        for one in figures
    ]
    print("\n" + markdown(("figure", "measured", "at most", "how"), told))


def first_ms(measured: Measured) -> str:
    return f"{median(measured.first_s) * 1000:.0f}" if measured.first_s else "-"


def compared(results: Results) -> dict[str, list[str]]:
    """Ours against the best of each kind, with the target."""
    rows = {}
    for peer, targets in TARGETS.items():
        cells = []
        for count, measured in results[OURS].items():
            rates = [
                median(by_count[count].tokens_per_s)
                for name, by_count in results.items()
                if name.startswith(peer)
            ]
            goal = f" (at least {targets[count]})" if count in targets else ""
            ratio = median(measured.tokens_per_s) / max(rates) if rates else 0
            cells.append(f"{ratio:.2f}{goal}" if rates else "left out")
        rows[peer] = cells
    return rows


def as_json(
    results: Results, figures: Sequence[Figure], arguments: argparse.Namespace
) -> dict[str, Any]:
    return {
        "arguments": {name: str(value) for name, value in vars(arguments).items()},
        "servers": {
            name: {count: asdict(measured) for count, measured in by_count.items()}
            for name, by_count in results.items()
        },
        "figures": [asdict(figure) for figure in figures],
    }


if __name__ == "__main__":
    main()
