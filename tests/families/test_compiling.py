"""Denoisers whose blocks are compiled: when they run so, and what they draw.

Torch's own back end takes minutes here: in one test blocks are traced by torch and then run as they
are, in the others they are only counted. The suite `gpu` has the rest.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.exc import InternalTorchDynamoError

from onebox.core.cancel import interruptible
from onebox.core.contracts import Device
from onebox.core.errors import Cancelled, InferenceFailed, ModelBroken
from onebox.imaging.diffusion import compiling
from onebox.imaging.diffusion.bundles import PipelineBundle
from tests.families.adapter_files import ContextWith, attention, kohya, layers, save
from tests.families.pictures import (
    FAMILY,
    TASK,
    Context,
    assert_alike,
    device,
    draw,
    entry,
    resolve,
)
from tests.families.test_memory_modes import other_memory, spoil
from tests.families.tiny_pipelines import Shelf

STEPS = 2


class Counted:
    """What stands in for torch's compiler: gives blocks that count their calls, or fail."""

    def __init__(self) -> None:
        self.calls, self.fails = 0, False

    def __call__(self, forward: Any) -> Any:
        def run(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.fails:
                raise InternalTorchDynamoError("the compiler crashed")
            return forward(*arguments, **options)

        return run


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    stand_in = Counted()
    monkeypatch.setattr(compiling, "_compiled", stand_in)
    return stand_in


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What torch has traced of the blocks, which then run as they are."""
    found: list[Any] = []

    def keep(graph: Any, inputs: Any) -> Any:
        found.append(graph)
        return graph.forward

    def traced(forward: Any) -> Any:
        return torch.compile(forward, dynamic=True, backend=keep)

    monkeypatch.setattr(compiling, "_compiled", traced)
    yield found
    torch.compiler.reset()


@pytest.fixture
def compiled(counted: Counted, tiny_sd: Path) -> PipelineBundle:
    return loaded(tiny_sd)


def loaded(folder: Path, where: Device | None = None, **overrides: Any) -> PipelineBundle:
    return FAMILY.load(entry(folder, compile=True, **overrides), where or device())


def calls_of(counted: Counted, run: Any) -> int:
    before = counted.calls
    run()
    return counted.calls - before


def test_one_compilation_serves_all_sizes_and_numbers_and_the_same_weights_loaded_again(
    bundle: PipelineBundle, tiny_sd: Path, graphs: list[Any]
) -> None:
    for asked in ({"n": 3}, {"width": 96}):
        mine = loaded(tiny_sd)
        ours, theirs = (draw(each, tiny_sd, seed=3, **asked) for each in (mine, bundle))
        for one, other in zip(ours, theirs, strict=True):
            assert_alike(one, other)
        gc.collect()
        gc.disable()
        try:
            weight = weakref.ref(next(mine.pipeline.unet.parameters()))
            mine.close()
            assert weight() is None
        finally:
            gc.enable()
    assert len(graphs) == 1


def test_a_cancel_takes_effect_between_two_blocks(
    compiled: PipelineBundle, tiny_sd: Path, counted: Counted
) -> None:
    draw(compiled, tiny_sd, seed=3)
    in_a_step = calls_of(counted, lambda: draw(compiled, tiny_sd, seed=3)) // STEPS
    assert in_a_step > 2
    before = counted.calls

    def stop_within_the_first_step() -> None:
        if counted.calls - before == 2:
            raise Cancelled("stop")

    with interruptible(stop_within_the_first_step), pytest.raises(Cancelled):
        draw(compiled, tiny_sd, seed=3)
    assert counted.calls - before == 2


def test_loras_are_drawn_by_blocks_as_they_are(
    compiled: PipelineBundle,
    bundle: PipelineBundle,
    tiny_sd: Path,
    tmp_path: Path,
    counted: Counted,
) -> None:
    tensors: dict[str, Any] = {}
    for layer in layers(bundle.pipeline, "unet", attention):
        tensors |= kohya(layer, 2.0)
    lora = save(tmp_path / "a.safetensors", tensors)
    asked = resolve(tiny_sd, seed=5, loras=[{"model": "a.safetensors", "scale": 0.7}])
    (ours,), (theirs,) = (
        TASK.run(each, asked, ContextWith(tiny_sd, lora)) for each in (compiled, bundle)
    )
    assert counted.calls == 0
    assert np.array_equal(np.asarray(ours.value), np.asarray(theirs.value))


def test_where_every_bit_matters_nothing_is_compiled(
    compiled: PipelineBundle, bundle: PipelineBundle, tiny_sd: Path, counted: Counted
) -> None:
    torch.set_deterministic_debug_mode(2)
    try:
        ours = draw(compiled, tiny_sd, seed=3)
    finally:
        torch.set_deterministic_debug_mode(0)
    assert counted.calls == 0
    assert np.array_equal(ours, draw(bundle, tiny_sd, seed=3))


def test_the_second_try_in_full_precision_is_not_compiled(tiny_sd: Path, counted: Counted) -> None:
    half = loaded(tiny_sd, device("bfloat16", "bfloat16"))
    once = calls_of(counted, lambda: draw(half, tiny_sd, seed=3))
    spoil(half, only="bfloat16")
    context = Context(tiny_sd)
    assert calls_of(counted, lambda: TASK.run(half, resolve(tiny_sd, seed=3), context)) == once
    assert len(context.steps) == 2 * STEPS


def test_weights_that_lie_elsewhere_between_runs_are_compiled_all_the_same(
    bundle: PipelineBundle, tiny_sd: Path, counted: Counted
) -> None:
    offloaded = loaded(tiny_sd, other_memory(), memory=["cpu_offload"])
    for _ in range(2):
        assert_alike(draw(offloaded, tiny_sd, seed=3)[0], draw(bundle, tiny_sd, seed=3)[0])
    assert counted.calls > 0
    offloaded.close()


@pytest.mark.parametrize(("kind", "blocks"), [("flux", 2), ("sd3", 1)])
def test_transformers_run_compiled_block_by_block(
    shelf: Shelf, counted: Counted, kind: str, blocks: int
) -> None:
    folder = shelf.path(kind)
    small = {"seed": 3, "width": 64, "height": 64}
    ours = draw(loaded(folder), folder, **small)[0]
    assert np.array_equal(ours, draw(shelf.bundle(kind), folder, **small)[0])
    assert counted.calls == blocks * STEPS


def test_a_compiler_that_fails_is_named_with_the_way_out(
    compiled: PipelineBundle, tiny_sd: Path, counted: Counted
) -> None:
    counted.fails = True
    with pytest.raises(InferenceFailed, match="take compile out"):
        draw(compiled, tiny_sd, seed=3)


def test_a_machine_without_a_compiler_is_told_so_when_the_model_is_loaded(
    tiny_sd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ModelBroken, match=r"C\+\+ compiler.*take compile out"):
        loaded(tiny_sd)
