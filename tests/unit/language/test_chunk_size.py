"""How much of a waiting prompt goes in a step beside the texts that are being written."""

from __future__ import annotations

from onebox.language.decoding.chunk_size import (
    CROWDED_TOKENS,
    LEAST_TOKENS,
    MOST_TOKENS,
    STRETCH,
    ChunkSize,
)


def learnt(step_s: float, token_s: float, steps: int = 50, chunk: ChunkSize | None = None):
    """From steps of a device that takes so long, with and without chunks."""
    chunk = chunk or ChunkSize()
    for _ in range(steps):
        chunk.measured(4, 0, step_s)
        tokens = chunk.tokens(4, 1)
        chunk.measured(4, tokens, step_s + tokens * token_s)
    return chunk


def test_all_that_is_allowed_goes_when_nobody_waits_for_a_token() -> None:
    assert ChunkSize().tokens(0, 1) == MOST_TOKENS
    assert learnt(0.01, 0.01).tokens(0, 1) == MOST_TOKENS


def test_it_begins_small() -> None:
    assert ChunkSize().tokens(4, 1) == LEAST_TOKENS


def test_a_step_with_a_chunk_takes_no_more_than_its_stretch() -> None:
    step_s, token_s = 0.1, 0.001
    tokens = learnt(step_s, token_s).tokens(4, 1)
    assert LEAST_TOKENS < tokens < MOST_TOKENS
    assert step_s + tokens * token_s <= STRETCH * step_s * 1.001
    assert step_s + (tokens + 2) * token_s > STRETCH * step_s


def test_it_never_takes_longer_on_the_way_there() -> None:
    step_s, token_s, chunk = 0.1, 0.001, ChunkSize()
    for _ in range(50):
        chunk.measured(4, 0, step_s)
        taken_s = step_s + chunk.tokens(4, 1) * token_s
        chunk.measured(4, chunk.tokens(4, 1), taken_s)
        assert taken_s <= STRETCH * step_s * 1.001


def test_more_goes_where_many_wait_for_their_first_token() -> None:
    chunk = learnt(0.1, 0.001)
    assert chunk.tokens(8, 4) == CROWDED_TOKENS > chunk.tokens(8, 3)
    assert chunk.tokens(1, 1) == chunk.tokens(8, 1)


def test_a_slow_device_still_gets_on_and_a_fast_one_has_a_limit() -> None:
    assert learnt(0.1, 1.0).tokens(4, 1) == LEAST_TOKENS
    assert learnt(0.1, 1e-7).tokens(4, 1) == MOST_TOKENS


def test_it_follows_a_device_that_becomes_slower() -> None:
    chunk = learnt(0.1, 0.0005)
    before = chunk.tokens(4, 1)
    assert learnt(0.1, 0.002, chunk=chunk).tokens(4, 1) < before / 2


def test_what_a_step_takes_is_known_for_few_and_for_many_texts() -> None:
    chunk = learnt(0.1, 0.001)
    before = chunk.tokens(4, 1)
    for _ in range(50):
        chunk.measured(64, 0, 1.0)
        chunk.measured(4, before, 0.1 + before * 0.001)
    assert chunk.tokens(4, 1) == before


def test_a_clock_that_stands_still_is_no_trouble() -> None:
    assert learnt(0.0, 0.0).tokens(4, 1) == MOST_TOKENS
