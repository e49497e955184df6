"""Pictures drawn together, lean, and cancelled inside the decoder, on a tiny Stable Diffusion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onebox.core.cancel import interruptible
from onebox.core.errors import Cancelled
from onebox.imaging.diffusion.bundles import PipelineBundle
from tests.families.pictures import TASK, Context, assert_alike, draw, entry, resolve


def test_a_seed_gives_the_same_picture_alone_and_among_others(
    bundle: PipelineBundle, tiny_sd: Path
) -> None:
    several = draw(bundle, tiny_sd, seed=7, n=3)
    (alone,) = draw(bundle, tiny_sd, seed=9)
    assert_alike(several[2], alone)
    assert not np.array_equal(several[0], several[1])


def test_deterministic_pictures_are_the_same_bit_for_bit_alone_and_among_others(
    bundle: PipelineBundle, tiny_sd: Path
) -> None:
    several = draw(bundle, tiny_sd, seed=7, n=3, deterministic=True)
    (alone,) = draw(bundle, tiny_sd, seed=9, deterministic=True)
    assert np.array_equal(several[2], alone)
    request = resolve(tiny_sd, seed=7, deterministic=True)
    assert TASK.is_deterministic(request)
    assert TASK.batch_key(request, entry(tiny_sd)) is None


def test_the_last_seed_wraps(bundle: PipelineBundle, tiny_sd: Path) -> None:
    _, wrapped = draw(bundle, tiny_sd, seed=2**32 - 1, n=2)
    (zero,) = draw(bundle, tiny_sd, seed=0)
    assert_alike(wrapped, zero)


def test_requests_of_one_batch_get_their_own_pictures_from_one_call(
    bundle: PipelineBundle, tiny_sd: Path
) -> None:
    asked = [
        resolve(tiny_sd, seed=1, prompt="a red circle"),
        resolve(tiny_sd, seed=5, prompt="a blue square", n=2),
    ]
    assert len({TASK.batch_key(request, entry(tiny_sd)) for request in asked}) == 1
    context = Context(tiny_sd)
    first, second = TASK.run_batch(bundle, asked, context)
    assert context.steps == [(1, 2), (2, 2)]
    assert [output.meta["seed"] for output in (*first, *second)] == [1, 5, 6]
    assert_alike(np.asarray(first[0].value), draw(bundle, tiny_sd, seed=1)[0])
    alone = draw(bundle, tiny_sd, seed=6, prompt="a blue square")
    assert_alike(np.asarray(second[1].value), alone[0])


@pytest.mark.parametrize(
    "other",
    [{"steps": 3}, {"guidance_scale": 9.0}, {"width": 128}, {"negative_prompt": "blue"}],
)
def test_requests_that_differ_in_more_than_prompt_and_seed_do_not_share_a_call(
    tiny_sd: Path, other: dict[str, Any]
) -> None:
    one, two = resolve(tiny_sd, seed=1), resolve(tiny_sd, seed=1, **other)
    assert TASK.batch_key(one, entry(tiny_sd)) != TASK.batch_key(two, entry(tiny_sd))


def test_a_negative_prompt_beside_another_stays_its_own(
    bundle: PipelineBundle, tiny_sd: Path
) -> None:
    asked = [resolve(tiny_sd, seed=3, negative_prompt=text) for text in ("blue", "large")]
    outputs = TASK.run_batch(bundle, asked, Context(tiny_sd))
    for request, (output,) in zip(asked, outputs, strict=True):
        alone = draw(bundle, tiny_sd, seed=3, negative_prompt=request.negative_prompt)
        assert_alike(np.asarray(output.value), alone[0])


def test_lean_pictures_are_drawn_one_by_one_and_leave_the_decoder_as_it_was(
    bundle: PipelineBundle, tiny_sd: Path
) -> None:
    context = Context(tiny_sd, lean=True)
    outputs = TASK.run(bundle, resolve(tiny_sd, seed=7, n=2), context)
    assert context.steps == [(step, 4) for step in range(1, 5)]
    # Tiles are blended where they meet, so single pixels differ by more than rounding.
    difference = np.asarray(outputs[1].value).astype(int) - draw(bundle, tiny_sd, seed=8)[0]
    assert np.abs(difference).mean() < 5
    assert not bundle.pipeline.vae.use_tiling
    assert not bundle.pipeline.vae.use_slicing


def test_a_cancel_takes_effect_inside_the_decoder(bundle: PipelineBundle, tiny_sd: Path) -> None:
    steps = 2
    context = Context(tiny_sd)

    def stop_after_the_last_step() -> None:
        if len(context.steps) == steps:
            raise Cancelled("in the decoder")

    with pytest.raises(Cancelled, match="decoder"), interruptible(stop_after_the_last_step):
        TASK.run(bundle, resolve(tiny_sd, seed=1, steps=steps), context)
    assert len(context.steps) == steps
