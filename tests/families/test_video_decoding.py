"""Videos decoded a few frames at a time, beside the library's decoding of them at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onebox.core.errors import Cancelled, InferenceFailed
from onebox.imaging.video import decoders, tiles
from tests.families import video_decoders as tiny
from tests.families.video_decoders import Case, Context, as_bytes, chunks_of

Make = Callable[[], Case]
KINDS: dict[str, Make] = {
    "flat": tiny.flat,
    "temporal": tiny.temporal,
    "wan": tiny.wan,
    "wan-patches": tiny.wan_patches,
    "cogvideox": tiny.cogvideox,
    "hunyuan": tiny.hunyuan,
    "ltx": tiny.ltx,
    "ltx-causal": partial(tiny.ltx, causal=True),
    "ltx-noisy": partial(tiny.ltx, noisy=True),
}
each = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
# Of a kind, how many latents in time: one, few, and more than the library does at once itself.
STEPS = (1, 3, 9)
MAX_FRAMES = 14


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "BATCH_PIXELS", 2 * 12 * 10)


def both(case: Case, steps: int) -> tuple[list[Any], np.ndarray]:
    """The chunks, and the frames of the whole."""
    import torch

    latents = case.latents(steps, 6, 5)
    with torch.no_grad():
        whole = as_bytes(case.whole(latents))
    return list(chunks_of(case, latents, steps, Context())), whole


def assert_alike(frames: np.ndarray, others: np.ndarray) -> None:
    """But for the rounding of a few values."""
    assert frames.shape == others.shape
    apart = np.abs(frames.astype(int) - others)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3


@each
@pytest.mark.parametrize("steps", STEPS)
def test_the_frames_are_those_of_the_whole(make: Make, steps: int) -> None:
    case = make()
    chunks, whole = both(case, steps)
    assert whole.std() > 5
    assert_alike(np.concatenate(chunks), whole)
    assert all(chunk.dtype == np.uint8 and len(chunk) for chunk in chunks)


@each
def test_no_chunk_grows_with_the_video(make: Make) -> None:
    case = make()
    chunks = list(chunks_of(case, case.latents(33, 6, 5), 33, Context()))
    assert sum(map(len, chunks)) == case.frames(33)
    assert max(map(len, chunks)) <= MAX_FRAMES


@each
def test_each_chunk_lets_others_have_the_device_and_a_cancel_ends_it(make: Make) -> None:
    case = make()
    latents = case.latents(9, 6, 5)
    context = Context()
    chunks = list(chunks_of(case, latents, 9, context))
    assert context.handed_over == len(chunks)
    stopped = Context(stop_at=1)
    with pytest.raises(Cancelled):
        list(chunks_of(case, latents, 9, stopped))
    assert stopped.handed_over == 1
    again = list(chunks_of(case, latents, 9, Context()))
    assert np.array_equal(np.concatenate(again), np.concatenate(chunks))


@each
def test_another_video_decoded_in_between_changes_nothing(make: Make) -> None:
    case = make()
    latents, other = case.latents(5, 6, 5), case.latents(3, 6, 5)
    alone = np.concatenate(list(chunks_of(case, latents, 5, Context())))
    mixed = []
    for number, chunk in enumerate(chunks_of(case, latents, 5, Context())):
        if number < 2:
            list(chunks_of(case, other, 3, Context()))
        mixed.append(chunk)
    assert np.array_equal(np.concatenate(mixed), alone)


def test_runs_of_frames_come_close_to_the_whole() -> None:
    import torch

    case = tiny.temporal()
    # A still with something moving in it, as videos are.
    still = torch.randn(1, 1, 4, 6, 5)
    latents = still + torch.randn(1, 25, 4, 6, 5).cumsum(1) * 0.05
    with torch.no_grad():
        whole = as_bytes(case.whole(latents)).astype(int)
    frames = np.concatenate(list(chunks_of(case, latents, 25, Context())))
    assert frames.shape == whole.shape
    assert np.abs(frames - whole).mean() < 3


def test_frames_that_a_pipeline_leaves_out_are_left_out() -> None:
    import torch

    cog = tiny.cogvideox()
    latents = cog.latents(4, 6, 5)
    with torch.no_grad():
        whole = as_bytes(cog.whole(latents[:, 1:]))
    assert np.array_equal(np.concatenate(list(chunks_of(cog, latents, 3, Context()))), whole)

    hunyuan = tiny.hunyuan()
    for steps in (3, 8):
        latents = hunyuan.latents(steps, 6, 5)
        with torch.no_grad():
            whole = as_bytes(hunyuan.whole(latents)[:, :, 4:])
        fewer = chunks_of(hunyuan, latents, steps - 1, Context())
        assert np.array_equal(np.concatenate(list(fewer)), whole)


@each
@pytest.mark.parametrize("asked", ["by the run", "by the decoder"])
def test_when_memory_is_short_parts_of_the_picture_are_decoded(
    make: Make, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make()
    if asked == "by the decoder" and not hasattr(case.pipeline.vae, "use_tiling"):
        pytest.skip("this class has no tiles of its own")
    monkeypatch.setattr(tiles, "TILE", 4 * case.ratio)
    monkeypatch.setattr(tiles, "OVERLAP", 2 * case.ratio)
    largest = watch(case.pipeline.vae, monkeypatch)
    latents = case.latents(3, 6, 5)
    whole = np.concatenate(list(chunks_of(case, latents, 3, Context())))
    assert largest() == (6, 5)
    context = Context(lean=asked == "by the run")
    case.pipeline.vae.use_tiling = not context.lean
    parts = np.concatenate(list(chunks_of(case, latents, 3, context)))
    assert largest() == (4, 4)
    assert parts.shape == whole.shape
    # Decoders see past the rim of a part, and the tiniest pictures are nothing but rims.
    assert np.corrcoef(parts.ravel(), whole.ravel())[0, 1] > 0.1


def watch(vae: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[int, int]]:
    """What tells, once, the largest height and width that the decoder's first layer took."""
    seen: list[tuple[int, int]] = []
    first = vae.decoder.conv_in
    # LTX's is not called itself.
    called = first.conv if type(vae).__name__ == "AutoencoderKLLTXVideo" else first
    called.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[-2:]))

    def largest() -> tuple[int, int]:
        sizes, seen[:] = list(seen), []
        return max(height for height, _ in sizes), max(width for _, width in sizes)

    return largest


def test_parts_of_what_sees_no_neighbours_are_joined_to_the_whole() -> None:
    import torch

    def stream(vae: Any, latents: Any) -> Iterator[Any]:
        for latent in latents.split(1, dim=2):
            yield latent.repeat_interleave(8, 3).repeat_interleave(8, 4)

    latents = torch.rand(1, 3, 4, 70, 131)
    chunks = list(tiles.in_tiles(stream, None, latents, 131 * 8, 70 * 8))
    whole = torch.cat(list(stream(None, latents)), dim=2)
    assert torch.allclose(torch.cat(chunks, dim=2), whole, atol=1e-6)


def test_parts_cover_a_side_evenly() -> None:
    side, overlap = tiles.TILE // 8, tiles.OVERLAP // 8
    assert tiles.starts(side, 8) == [0]
    for length in range(side + 1, 5 * side):
        found = tiles.starts(length, 8)
        assert found[0] == 0
        assert found[-1] == length - side
        assert all(b - a <= side - overlap for a, b in itertools.pairwise(found))
        assert len(found) <= -(-length // (side - overlap))


@pytest.mark.parametrize("wrong", [float("nan"), 0.0], ids=["no numbers", "black"])
@pytest.mark.parametrize("at", [1, 3])
def test_what_half_precision_gets_wrong_is_decoded_in_full(wrong: float, at: int) -> None:
    import torch

    case = tiny.wan()
    latents = case.latents(5, 6, 5)
    expected = np.concatenate(list(chunks_of(case, latents, 5, Context())))
    vae = case.pipeline.vae.to(torch.bfloat16)
    before = {name: weight.clone() for name, weight in vae.named_parameters()}
    spoil(vae, wrong, at)
    context = Context()
    frames = np.concatenate(list(chunks_of(case, latents, 5, context)))
    assert frames.shape == expected.shape
    # Those that came before are not decoded for a second time.
    assert np.abs(frames.astype(int) - expected).mean() < 4
    assert context.handed_over == at - 1
    assert context.checked == 5
    for name, weight in vae.named_parameters():
        assert torch.equal(weight, before[name])


def spoil(vae: Any, value: float, at: int) -> None:
    """From the call of that number on, in half precision the decoder makes `value` of all."""
    import torch

    calls = []

    def hook(module: Any, given: Any, pixels: Any) -> Any:
        calls.append(1)
        spoiled = pixels.dtype == torch.bfloat16 and len(calls) >= at
        # Black is -1 here.
        return torch.full_like(pixels, value or -1.0) if spoiled else pixels

    vae.decoder.register_forward_hook(hook)


def test_what_full_precision_gets_wrong_too_is_an_error() -> None:
    import torch

    for dtype in (torch.bfloat16, torch.float32):
        case = tiny.wan()
        vae = case.pipeline.vae.to(dtype)
        vae.decoder.register_forward_hook(lambda module, given, pixels: pixels * float("nan"))
        with pytest.raises(InferenceFailed, match="no numbers"):
            list(chunks_of(case, case.latents(3, 6, 5), 3, Context()))
        assert vae.dtype == dtype


def test_black_frames_of_full_precision_are_what_was_drawn() -> None:
    case = tiny.wan()
    case.pipeline.vae.decoder.register_forward_hook(lambda m, given, pixels: pixels * 0 - 1)
    chunks = list(chunks_of(case, case.latents(3, 6, 5), 3, Context()))
    assert sum(map(len, chunks)) == case.frames(3)
    assert not np.concatenate(chunks).any()


def test_who_takes_the_chunks_is_not_in_inference_mode() -> None:
    import torch

    case = tiny.flat()
    for _ in chunks_of(case, case.latents(3, 6, 5), 3, Context()):
        assert not torch.is_inference_mode_enabled()
    assert case.pipeline.freed == 1


def test_weights_that_lie_elsewhere_are_brought_for_each_chunk() -> None:
    case = tiny.ltx()
    woken: list[Any] = []
    case.pipeline.vae._hf_hook = SimpleNamespace(pre_forward=woken.append)
    chunks = chunks_of(case, case.latents(3, 6, 5), 3, Context())
    next(chunks)
    assert len(woken) == 1
    next(chunks)
    assert len(woken) == 2
    assert case.pipeline.freed == 0
    chunks.close()
    assert case.pipeline.freed == 1
