"""Seeds: 32 bits, chosen before queueing, one higher for each further picture."""

from __future__ import annotations

import secrets

SEEDS = 2**32


def random_seed() -> int:
    return secrets.randbelow(SEEDS)


def seed_of(first: int, index: int) -> int:
    """Seed of the index-th result; wraps at 2³²."""
    return (first + index) % SEEDS
