"""Keys and values: counted to the byte, given back, and nothing is lost where there is no room."""

from __future__ import annotations

import gc
import random
from typing import Any

import pytest
import torch

from onebox.core.decoding import NoRoom, TokenSequence
from onebox.language.decoding.batch_decoder import BatchDecoder
from onebox.language.decoding.kv_cache import ALIGNED_BYTES
from onebox.language.decoding.llama import LlamaPass
from tests.language.decoder_kinds import ALL, long
from tests.language.decoding import decoder_of, model, prompt, take, text, write

TEXTS = 20
# More than a tiny model's weights are, and shaped like nothing else there.
HEAD_DIM = 24


def storm_config() -> Any:
    return long("llama", head_dim=HEAD_DIM)


class Budget:
    """Says no beyond a limit, and now and then for no reason."""

    def __init__(self, limit_bytes: int, rng: random.Random, moods: float = 0.0) -> None:
        self.limit_bytes, self._rng, self._moods = limit_bytes, rng, moods
        self.told = 0

    def __call__(self, size_bytes: int) -> bool:
        grows = size_bytes > self.told
        if grows and (size_bytes > self.limit_bytes or self._rng.random() < self._moods):
            return False
        self.told = size_bytes
        return True


def held_bytes() -> int:
    """Of all tensors that can only be keys and values."""
    found = {}
    for thing in gc.get_objects():
        if type(thing) is torch.Tensor and thing.dim() == 4 and thing.shape[-1] == HEAD_DIM:
            found[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
    # Without what makes a buffer begin at an even address.
    return sum(size - size % (2 * ALIGNED_BYTES) for size in found.values())


def texts(rng: random.Random) -> list[TokenSequence]:
    """Some long, some begin alike, some are deterministic."""
    made = []
    for number in range(TEXTS):
        ids = prompt(150)[: rng.choice([0, 70, 150])] + prompt(rng.choice([1, 20, 64, 240]), number)
        made.append(text(ids, rng.randint(1, 60), deterministic=number % 7 == 3, seed=number))
    return made


def storm(decoder: Any, rng: random.Random, pending: list[TokenSequence]) -> int:
    """As the engine does it, with requests that come, go away and are paused at any time.

    Returns how often there was no room.
    """
    running: list[TokenSequence] = []
    paused: list[TokenSequence] = []
    refused = 0
    for step in range(4000):
        if pending and rng.random() < 0.4:
            running.append(pending.pop())
        if paused and (not running or rng.random() < 0.2):
            running.insert(0, paused.pop(0))
        if running and rng.random() < 0.05:
            paused.append(running.pop(rng.randrange(len(running))))
            decoder.drop(paused[-1])
        if not (running or paused or pending):
            return refused
        try:
            take(decoder.step(running), decoder)
        except NoRoom:
            refused += 1
            if running:
                paused.append(running.pop())
                decoder.drop(paused[-1])
        running = [one for one in running if one.finish_reason is None]
        if step % 50 == 0:
            assert decoder.used_bytes == held_bytes()
    raise AssertionError("the texts never end")


@pytest.mark.parametrize("seed", range(3))
def test_a_storm_changes_no_text_and_leaves_no_byte(seed: int) -> None:
    decoder = decoder_of(storm_config())
    alone = [write(decoder, [one])[0] for one in texts(random.Random(seed))]
    decoder.drop_kept()
    assert decoder.used_bytes == held_bytes() == 0

    stormy = texts(random.Random(seed))
    rng = random.Random(seed)
    # Room for some 4 of the longer texts, and whims.
    budget = Budget(decoder.bytes_for(512) * 4, rng, moods=0.1)
    decoder.attach(budget, decoder.bytes_for(512) * 3, torch.inference_mode)
    assert storm(decoder, rng, list(stormy)) > 0
    assert [one.output for one in stormy] == alone
    decoder.drop_kept()
    assert decoder.used_bytes == held_bytes() == budget.told == 0


def test_a_paused_text_gives_its_place_to_those_that_stay() -> None:
    """Not one after the other has to be paused because places in a shared buffer stay taken."""
    decoder = decoder_of(storm_config(), keep_bytes=0)
    room = decoder.bytes_for(256) * 6
    decoder.attach(lambda size: size <= room, 0, torch.inference_mode)
    writing = [text(prompt(20, seed), 400) for seed in range(3)]
    while len(writing[0]) < 256:
        take(decoder.step(writing), decoder)
    pauses = 0
    running = list(writing)
    while len(writing[0]) < 300:
        try:
            take(decoder.step(running), decoder)
        except NoRoom:
            decoder.drop(running.pop())
            pauses += 1
    assert pauses <= 1


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "mamba"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_text_that_is_dropped_in_the_middle_gives_all_back(
    kind: str, deterministic: bool
) -> None:
    decoder = decoder_of(ALL[kind](), keep_bytes=0)
    ids = [prompt(70, seed) for seed in range(4)]
    dropped = [text(one, 50, deterministic=deterministic) for one in ids]
    for _ in range(9):
        for one, token in decoder.step(dropped):
            one.output.append(token.id)
    assert decoder.used_bytes > 0
    for one in dropped[1:]:
        decoder.drop(one)
        decoder.drop(one)
    write(decoder, dropped[:1])
    assert decoder.used_bytes == 0


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_no_room_at_any_moment_only_delays(kind: str) -> None:
    prompts = [prompt(length) for length in (60, 1, 130)]
    decoder = decoder_of(ALL[kind]())
    expected = write(decoder, [text(ids, 20) for ids in prompts])
    decoder.drop_kept()
    rng = random.Random(5)
    decoder.attach(Budget(1 << 40, rng, moods=0.7), 0, torch.inference_mode)
    delayed = [text(ids, 20) for ids in prompts]
    refusals = 0
    while any(one.finish_reason is None for one in delayed):
        try:
            take(decoder.step([one for one in delayed if not one.finish_reason]), decoder)
        except NoRoom:
            refusals += 1
    assert [one.output for one in delayed] == expected
    assert refusals > 0
    decoder.drop_kept()
    assert decoder.used_bytes == 0


class Failing:
    """A pass, or the forward of a model, that fails at its last moment now and then."""

    def __init__(self, compute: Any, rng: random.Random) -> None:
        self._compute, self._rng = compute, rng
        self.failures = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compute, name)

    def __call__(self, *args: Any, **named: Any) -> Any:
        answer = self._compute(*args, **named)
        if self._rng.random() < 0.3:
            self.failures += 1
            raise RuntimeError("out of memory")
        return answer


class Counting:
    """A grammar that allows all and counts what it was told."""

    finished = False

    def __init__(self) -> None:
        self.told: list[int] = []

    def fill(self, bitmask: Any, row: int) -> bool:
        return False

    def accept(self, token_id: int) -> None:
        self.told.append(token_id)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "bloom"])
def test_a_step_that_failed_can_be_done_again(kind: str) -> None:
    """Free texts and deterministic ones are passes of their own; any of them may be the one."""
    made = model(ALL[kind]())
    if kind == "llama":
        failing = Failing(LlamaPass(made), random.Random(1))
        decoder: Any = BatchDecoder(failing)
    else:
        decoder = decoder_of(lambda: made)
        failing = Failing(made.forward, random.Random(1))
        made.forward = failing
    prompts = [(prompt(70, seed), seed % 2 == 0) for seed in range(4)]
    expected = write(
        decoder_of(ALL[kind]()), [text(ids, 12, deterministic=fixed) for ids, fixed in prompts]
    )
    again = [text(ids, 12, deterministic=fixed) for ids, fixed in prompts]
    for one in again:
        one.matcher = Counting()
    while any(one.finish_reason is None for one in again):
        try:
            take(decoder.step([one for one in again if not one.finish_reason]), decoder)
        except RuntimeError:
            continue
    assert failing.failures > 3
    assert [one.output for one in again] == expected
    assert [one.matcher.told for one in again] == expected  # type: ignore[union-attr]
    decoder.drop_kept()
    assert decoder.used_bytes == 0
