from __future__ import annotations

import pytest

from onebox.core.seeds import SEEDS, random_seed, seed_of


@pytest.mark.parametrize(
    ("first", "index", "expected"),
    [(7, 0, 7), (7, 3, 10), (SEEDS - 1, 0, SEEDS - 1), (SEEDS - 1, 1, 0), (SEEDS - 1, 3, 2)],
)
def test_each_picture_has_the_next_seed_and_the_last_wraps(first, index, expected):
    assert seed_of(first, index) == expected


def test_a_random_seed_can_be_asked_for_again():
    seeds = {random_seed() for _ in range(50)}
    assert len(seeds) > 1
    assert all(0 <= seed < SEEDS for seed in seeds)
