"""What chat costs beside its tokens a second: each figure from rounds that alternate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from benchmarks.chat_client import Answer, Asked, Messages, ask, side_by_side
from benchmarks.chat_inside import Decoder, Library
from benchmarks.chat_prompts import Prompts

PROMPT = 128
LONG_PROMPT = 2000
CONVERSATION = 1500
OTHERS = 4
OTHERS_TOKENS = 400
UNDER_WAY = 16
FIRST_ANSWER = 32
TOGETHER = 8


@dataclass(frozen=True, slots=True)
class Figure:
    """`target` is what it should be at most; None: only reported."""

    what: str
    value: float
    unit: str
    how: str
    target: float | None = None


def worst_gap(others: Sequence[Answer], sent: float, first: float) -> float:
    """The longest wait for a token between these two moments, in median steps before them."""
    before, during = [], [0.0]
    for answer in others:
        for earlier, later in pairwise(answer.pieces):
            if later <= sent:
                before.append(later - earlier)
            elif earlier < first:
                during.append(later - earlier)
    return max(during) / median(before)


async def first_token(
    server: Asked, library: Library, prompts: Prompts, tokens: int, rounds: int
) -> Figure:
    http, bare = [], []
    for _ in range(rounds):
        bare.append(library.prompt_and_step_s(prompts.ids(prompts.of(tokens))))
        http.append((await ask(server, prompts.of(tokens), 4)).first_s)
    how = f"{median(http) * 1000:.0f} ms, and {median(bare) * 1000:.0f} ms for a bare pass and step"
    return Figure(
        "first token, alone / bare prefill and one step of transformers' model",
        median(http) / median(bare),
        "",
        how,
        1.1,
    )


async def overhead(
    server: Asked, decoder: Decoder, prompts: Prompts, tokens: int, rounds: int
) -> Figure:
    """Time from token to token of one stream, less a step of the same decoder in this process."""
    http, inside = [], []
    for _ in range(rounds):
        alone = decoder.alone(prompts.ids(prompts.of(PROMPT)), tokens)
        inside.append(sum(alone.steps_s) / len(alone.steps_s))
        answer = await ask(server, prompts.of(PROMPT), tokens)
        http.append((answer.pieces[-1] - answer.pieces[0]) / (answer.tokens - 1))
    step, token = median(inside), median(http)
    how = f"{token * 1000:.2f} ms a token through HTTP, {step * 1000:.2f} ms a step in-process"
    return Figure("server's part of a token / step", (token - step) / step * 100, "%", how, 3)


async def long_prompt(server: Asked, prompts: Prompts, rounds: int) -> Figure:
    gaps = [await _one_long_prompt(server, prompts) for _ in range(rounds)]
    how = (
        f"{OTHERS} streams while a prompt of {LONG_PROMPT} tokens comes; median {median(gaps):.1f}"
    )
    return Figure("worst gap between tokens of others", max(gaps), "steps", how, 3)


async def _one_long_prompt(server: Asked, prompts: Prompts) -> float:
    counts = [0] * OTHERS
    under_way = asyncio.Event()

    def count(number: int) -> None:
        counts[number] += 1
        if min(counts) > UNDER_WAY:
            under_way.set()

    async def other(number: int, messages: Messages) -> Answer:
        return await ask(server, messages, OTHERS_TOKENS, lambda: count(number))

    streams = [asyncio.ensure_future(other(number, prompts.of(PROMPT))) for number in range(OTHERS)]
    long = prompts.of(LONG_PROMPT)
    await under_way.wait()
    answer = await ask(server, long, 2)
    others = await asyncio.gather(*streams)
    if min(one.pieces[-1] for one in others) < answer.pieces[0]:
        raise RuntimeError("the other streams ended before the long prompt was computed")
    return worst_gap(others, answer.sent, answer.pieces[0])


async def second_turn(server: Asked, prompts: Prompts, rounds: int) -> Figure:
    firsts, seconds, cached = [], [], 0
    for _ in range(rounds):
        messages = prompts.of(CONVERSATION)
        first = await ask(server, messages, FIRST_ANSWER)
        more = {"role": "user", "content": "And what else?"}
        messages = [*messages, {"role": "assistant", "content": first.text}, more]
        second = await ask(server, messages, FIRST_ANSWER)
        firsts.append(first.first_s)
        seconds.append(second.first_s)
        cached = second.cached_tokens
    how = (
        f"{median(seconds) * 1000:.0f} ms after {median(firsts) * 1000:.0f} ms for the first turn "
        f"of {CONVERSATION} tokens; {cached} tokens cached"
    )
    ratio = median(seconds) / median(firsts)
    return Figure("first token of a second turn / of the first", ratio, "", how, 0.25)


async def deterministic(server: Asked, prompts: Prompts, tokens: int, rounds: int) -> Figure:
    rates: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for wanted, found in rates.items():
            asked = prompts.many(TOGETHER, PROMPT)
            done = await side_by_side(server, asked, TOGETHER, tokens, deterministic=wanted)
            found.append(done.tokens_per_s)
    free, fixed = median(rates[False]), median(rates[True])
    how = f"{TOGETHER} at once: {free:.0f} tokens/s, deterministic {fixed:.0f}"
    return Figure("tokens/s, default / deterministic", free / fixed, "times", how)
