"""A large video decoded in overlapping parts of its picture, all of them a few frames at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onebox.imaging.video.decoders import Stream

# Sides of a part and of what it shares with the next one, in pixels.
TILE = 384
OVERLAP = 96


def in_tiles(stream: Stream, vae: Any, latents: Any, width: int, height: int) -> Iterator[Any]:
    """The pixels [1, 3, n, h, w] of latents [1, c, t, h, w], blended where parts overlap.

    What a decoder keeps from frame to frame it keeps for each part: together about as much as for
    the whole. What is saved is the work on one, which takes far more.
    """
    ratio = height // latents.shape[3]
    rows = starts(latents.shape[3], ratio)
    columns = starts(latents.shape[4], ratio)
    side = TILE // ratio
    places = [(y, x) for y in rows for x in columns]
    parts = [stream(vae, latents[..., y : y + side, x : x + side]) for y, x in places]
    for chunks in zip(*parts, strict=True):
        yield _joined(chunks, [(y * ratio, x * ratio) for y, x in places], height, width)


def starts(side: int, ratio: int) -> list[int]:
    """Where parts begin along a side of so many latents, evenly spread."""
    tile, overlap = TILE // ratio, OVERLAP // ratio
    if side <= tile:
        return [0]
    last = -(-(side - overlap) // (tile - overlap)) - 1
    return [round(number * (side - tile) / last) for number in range(last + 1)]


def _joined(chunks: Any, places: list[tuple[int, int]], height: int, width: int) -> Any:
    """Each weighs the less the nearer to its rim."""
    import torch

    frames = chunks[0].shape[2]
    whole = torch.zeros(1, 3, frames, height, width, device=chunks[0].device)
    weights = torch.zeros(height, width, device=chunks[0].device)
    for chunk, (y, x) in zip(chunks, places, strict=True):
        tall, wide = chunk.shape[-2:]
        weight = _ramp(tall, whole)[:, None] * _ramp(wide, whole)
        whole[..., y : y + tall, x : x + wide] += chunk * weight
        weights[y : y + tall, x : x + wide] += weight
    return whole / weights


def _ramp(length: int, like: Any) -> Any:
    """From its ends up to 1, over what parts share."""
    import torch

    inward = torch.arange(1, length + 1, device=like.device, dtype=like.dtype)
    return torch.minimum(inward, inward.flip(0)).clamp(max=OVERLAP) / OVERLAP
