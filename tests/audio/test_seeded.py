"""Random numbers of one sentence: from its seed alone, and nobody else's business."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest


def draws() -> dict[str, Callable[[], Any]]:
    import torch

    like = torch.zeros(4, 3)
    return {
        "randn": lambda: torch.randn(4, 3),
        "randn of a shape": lambda: torch.randn((4, 3), dtype=torch.float64, device="cpu"),
        "rand": lambda: torch.rand(4),
        "randint": lambda: torch.randint(0, 1000, (8,)),
        "randn_like": lambda: torch.randn_like(like),
        "rand_like": lambda: torch.rand_like(like),
        "normal_": lambda: torch.zeros(5).normal_(2.0, 0.5),
        "uniform_": lambda: torch.zeros(5).uniform_(-1, 1),
        "exponential_": lambda: torch.zeros(5).exponential_(),
        "bernoulli": lambda: torch.bernoulli(torch.full((64,), 0.5)),
        "bernoulli of p": lambda: torch.bernoulli(torch.zeros(64), p=0.5),
        "multinomial": lambda: torch.multinomial(torch.ones(2, 1000), 3),
        "dropout": lambda: torch.nn.functional.dropout(torch.ones(64), 0.5, training=True),
        "a dropout layer": lambda: torch.nn.Dropout(0.5).train()(torch.ones(64)),
    }


@pytest.mark.parametrize("name", sorted(draws()))
def test_equal_seeds_draw_equal_numbers(name: str) -> None:
    import torch

    from onebox.audio.synthesis.seeded import seeded

    draw = draws()[name]
    found = []
    for seed, disturbance in ((1, 0), (1, 99), (2, 0)):
        torch.manual_seed(disturbance)
        with seeded(seed):
            found.append(draw())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("name", sorted(draws()))
def test_the_global_generator_is_left_alone(name: str) -> None:
    import torch

    from onebox.audio.synthesis.seeded import seeded

    before = torch.get_rng_state()
    with seeded(1):
        draws()[name]()
    assert torch.equal(torch.get_rng_state(), before)


def test_two_draws_of_one_seed_differ() -> None:
    import torch

    from onebox.audio.synthesis.seeded import seeded

    with seeded(1):
        assert not torch.equal(torch.randn(8), torch.randn(8))


def test_shares_and_moments_are_those_of_torch() -> None:
    import torch

    from onebox.audio.synthesis.seeded import seeded

    with seeded(3):
        kept = torch.nn.functional.dropout(torch.ones(20_000), 0.25, training=True)
        drawn = torch.bernoulli(torch.zeros(20_000), p=0.1)
        normal = torch.zeros(20_000).normal_(2.0, 0.5)
    assert kept.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert kept.mean() == pytest.approx(1, abs=0.02)
    assert drawn.mean() == pytest.approx(0.1, abs=0.01)
    assert (normal.mean().item(), normal.std().item()) == (
        pytest.approx(2, abs=0.02),
        pytest.approx(0.5, abs=0.02),
    )


def test_no_dropout_outside_of_training() -> None:
    import torch

    from onebox.audio.synthesis.seeded import seeded

    with seeded(1):
        assert torch.equal(
            torch.nn.functional.dropout(torch.ones(9), training=False), torch.ones(9)
        )
        assert torch.equal(torch.nn.Dropout(0.5).eval()(torch.ones(9)), torch.ones(9))


def test_other_threads_draw_as_ever() -> None:
    import torch

    from onebox.audio.synthesis.seeded import seeded

    torch.manual_seed(7)
    wanted = torch.randn(4)
    torch.manual_seed(7)
    found: list[Any] = []
    with seeded(1):
        thread = threading.Thread(target=lambda: found.append(torch.randn(4)))
        thread.start()
        thread.join()
    assert torch.equal(found[0], wanted)
