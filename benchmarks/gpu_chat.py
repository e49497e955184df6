"""Chat on CUDA beside `transformers serve --continuous-batching`, with random weights in bfloat16.

    python -m benchmarks.gpu_chat --tokenizer FOLDER [--sizes 1.1B 8B] [--transformers PROGRAM]
        [--rounds 3] [--folder FOLDER] [--json FILE]

`--tokenizer` is a folder with a tokenizer that has a chat template. The models have the shapes of
TinyLlama and Llama 3 8B, with that tokenizer's vocabulary where it is larger. What a memory-bound
decoder could do at most alone is the bandwidth of a copy on this device, measured here, through the
bytes of the weights that every token needs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.chat import OURS, Measured, Results, first_ms, measure_one
from benchmarks.chat_client import ask, side_by_side
from benchmarks.chat_peers import Running, onebox_on, transformers_serve
from benchmarks.chat_prompts import Prompts
from benchmarks.figures import markdown
from benchmarks.raw_http import run_fast

SHAPES: dict[str, dict[str, int]] = {
    "1.1B": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "vocab_size": 32_000,
    },
    "8B": {
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
    },
}
CONTEXT = 8192
CONCURRENCY = (1, 16, 64)
DEVICE = "cuda:0"
COPIED_BYTES = 4 * 2**30
COPIES = 20
ALONE_TOKENS = 256
TARGET_SHARE = 0.6


def main() -> None:
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    bandwidth = copy_bandwidth()
    print(f"a copy on this device moves {bandwidth / 1e9:.0f} GB/s")
    report: dict[str, Any] = {"bandwidth": bandwidth}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for size in arguments.sizes:
            model = Path(folder) / size / f"random-{size}"
            read_bytes = write_model(model, SHAPES[size], arguments.tokenizer)
            report[size] = measure_size(model, bandwidth / read_bytes, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--sizes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--transformers", type=Path, help="the program `transformers`")
    parser.add_argument("--folder", type=Path, help="where the models are written for a while")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=2, help="of each client in a round")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def copy_bandwidth() -> float:
    """Bytes a second that a copy reads and writes together."""
    import torch

    source = torch.zeros(COPIED_BYTES, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(COPIES):
        torch.cuda.synchronize()
        started = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    del source, target
    torch.cuda.empty_cache()
    return 2 * COPIED_BYTES / median(seconds)


def write_model(folder: Path, shape: dict[str, int], tokenizer: Path) -> int:
    """A checkpoint of random weights. Returns the bytes that are read for every token: all but the
    table of input embeddings.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    auto_class: Any = AutoTokenizer
    words = auto_class.from_pretrained(tokenizer, local_files_only=True)
    words.save_pretrained(folder)
    vocabulary = max(shape["vocab_size"], len(words))
    config = LlamaConfig(
        **{**shape, "vocab_size": vocabulary}, max_position_embeddings=CONTEXT, dtype="bfloat16"
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(DEVICE):
            model: Any = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    total = sum(one.numel() * one.element_size() for one in model.parameters())
    table = model.get_input_embeddings().weight
    del model
    read_bytes = int(total - table.numel() * table.element_size())
    del table
    torch.cuda.empty_cache()
    return read_bytes


def measure_size(model: Path, limit: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """`limit`: tokens a second of one stream that the memory allows."""
    prompts = Prompts(model, arguments.seed)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(onebox_on(model, ONEBOX_DEVICE=DEVICE))]
        if arguments.transformers:
            peer = transformers_serve(arguments.transformers, model, continuous=True, device=DEVICE)
            servers.append(stack.enter_context(peer))
        else:
            print("left out: transformers serve (no --transformers)")
        results, alone = measure(servers, prompts, arguments)
    show(model.name, results, alone, limit)
    return {
        "limit": limit,
        "alone": alone,
        "servers": {
            name: {count: asdict(one) for count, one in by_count.items()}
            for name, by_count in results.items()
        },
    }


def measure(
    servers: Sequence[Running], prompts: Prompts, arguments: argparse.Namespace
) -> tuple[Results, dict[str, list[float]]]:
    """Rounds of all servers in turns; and of single streams the tokens a second after the first."""
    names = [server.asked.name for server in servers]
    results: Results = {name: {count: Measured() for count in CONCURRENCY} for name in names}
    alone: dict[str, list[float]] = {name: [] for name in names}
    for server in servers:
        with server.awake() as asked:
            for count in CONCURRENCY:
                warm = prompts.many(count, arguments.prompt_tokens)
                run_fast(side_by_side(asked, warm, count, arguments.tokens))
    for number in range(arguments.rounds):
        shift = number % len(servers)
        for server in [*servers[shift:], *servers[:shift]]:
            for count in CONCURRENCY:
                measure_one(server, count, prompts, arguments, results)
            with server.awake() as asked:
                answer = run_fast(ask(asked, prompts.of(arguments.prompt_tokens), ALONE_TOKENS))
            seconds = answer.pieces[-1] - answer.pieces[0]
            alone[server.asked.name].append((answer.tokens - 1) / seconds)
    return results, alone


def show(name: str, results: Results, alone: dict[str, list[float]], limit: float) -> None:
    header = [f"tokens/s at {count}" for count in CONCURRENCY]
    header += [f"first token, ms, at {count}" for count in CONCURRENCY]
    rows = []
    for server, by_count in results.items():
        rates = [f"{median(one.tokens_per_s):.0f}" for one in by_count.values()]
        share = f"{median(alone[server]) / limit:.0%}"
        rows.append((server, *rates, *map(first_ms, by_count.values()), share))
    print(f"\n{name}; the memory allows {limit:.0f} tokens/s alone\n")
    print(markdown(("server", *header, "share of that"), rows))
    wrong = {server: sum(one.wrong for one in by.values()) for server, by in results.items()}
    print(f"\nanswers or prompts of a wrong length: {wrong}")
    print(f"target: {OURS} at least {TARGET_SHARE:.0%} of what the memory allows")


if __name__ == "__main__":
    main()
