"""LTX's decoder, a few frames at a time and to the same numbers.

Its convolutions look at frames before and after, all layers together further than most videos are
long. So no part of a video can be decoded by itself; instead each layer passes on the frames that
it has seen enough for, and keeps the few that it needs for the next ones. All are at work at the
same time, so none holds on to what it has passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from onebox.core.cancel import check_now

# Tensors [1, c, n, h, w]: some of the frames, in order.
Chunks = Iterable[Any]


def ltx_frames(vae: Any, latents: Any, timestep: Any, generator: Any) -> Iterator[Any]:
    """[1, 3, n, h, w] of latents [1, c, t, h, w].

    Args:
        timestep: [1] of the VAE's dtype, of how much noise is left; None where it knows none.
        generator: of the noise that some versions add between their layers.
    """
    decoder = vae.decoder
    if decoder.timestep_scale_multiplier is not None:
        timestep = timestep * decoder.timestep_scale_multiplier.to(timestep.device)
    through = _Layers(timestep, generator)
    chunks = through.conv(decoder.conv_in, latents.split(1, dim=2))
    chunks = through.resnets(decoder.mid_block, chunks)
    for block in decoder.up_blocks:
        chunks = through.up_block(block, chunks)
    chunks = through.conv(decoder.conv_out, _each(partial(through.last_norm, decoder), chunks))
    return _each(partial(_unpacked, decoder.patch_size, decoder.patch_size_t), chunks)


class _Layers:
    """What each kind of layer makes of the chunks that come in."""

    def __init__(self, timestep: Any, generator: Any) -> None:
        self._timestep = timestep
        self._generator = generator

    def conv(self, conv: Any, chunks: Chunks) -> Iterator[Any]:
        """The first and the last frame are repeated beyond the ends; a causal one only looks
        back.
        """
        import torch

        size = conv.kernel_size[0]
        after = 0 if conv.is_causal else (size - 1) // 2
        kept = None
        for chunk in chunks:
            check_now()
            if kept is None:
                kept = chunk[:, :, :1].repeat(1, 1, size - 1 - after, 1, 1)
            kept = torch.cat([kept, chunk], dim=2)
            del chunk
            if kept.shape[2] >= size:
                made = [conv.conv(kept)]
                kept = kept[:, :, kept.shape[2] - size + 1 :].clone()
                yield made.pop()
        if after and kept is not None:
            yield conv.conv(torch.cat([kept, *[kept[:, :, -1:]] * after], dim=2))

    def up_block(self, block: Any, chunks: Chunks) -> Iterator[Any]:
        if block.conv_in is not None:
            chunks = self._resnet(block.conv_in, chunks, None)
        for upsampler in block.upsamplers or ():
            chunks = self._upsampled(upsampler, chunks)
        return self.resnets(block, chunks)

    def resnets(self, block: Any, chunks: Chunks) -> Iterator[Any]:
        embedder = block.time_embedder
        told = None if embedder is None else partial(self._embedded, embedder)
        for resnet in block.resnets:
            chunks = self._resnet(resnet, chunks, told)
        return iter(chunks)

    def last_norm(self, decoder: Any, chunk: Any) -> Any:
        chunk = _normed(decoder.norm_out, chunk)
        if decoder.time_embedder is not None:
            told = self._embedded(decoder.time_embedder, chunk).unflatten(1, (2, -1))
            table = decoder.scale_shift_table.to(chunk)
            shift, scale = (told + table[None, ..., None, None, None]).unbind(dim=1)
            chunk = chunk * (1 + scale) + shift
        return decoder.conv_act(chunk)

    def _embedded(self, embedder: Any, like: Any) -> Any:
        told = embedder(
            timestep=self._timestep.flatten(),
            resolution=None,
            aspect_ratio=None,
            batch_size=1,
            hidden_dtype=like.dtype,
        )
        return told.view(1, -1, 1, 1, 1)

    def _resnet(self, block: Any, chunks: Chunks, told: Any) -> Iterator[Any]:
        """`told` makes the timestep's embedding for a chunk; None where the block knows none."""
        skipped = _Skipped(chunks)
        shifts = _Shifts(block, told)

        def first(chunk: Any) -> Any:
            return block.nonlinearity(shifts.first(_normed(block.norm1, chunk)))

        def second(chunk: Any) -> Any:
            return block.nonlinearity(shifts.second(_normed(block.norm2, chunk)))

        def joined(chunk: Any) -> Any:
            past = skipped.take(chunk.shape[2])
            if block.norm3 is not None:
                past = _normed(block.norm3, past)
            if block.conv_shortcut is not None:
                past = block.conv_shortcut.conv(past)
            return chunk + past

        chunks = self.conv(block.conv1, _each(first, skipped))
        chunks = self._noisy(block.per_channel_scale1, chunks)
        chunks = self.conv(block.conv2, _each(second, chunks))
        return _each(joined, self._noisy(block.per_channel_scale2, chunks))

    def _noisy(self, scale: Any, chunks: Chunks) -> Chunks:
        """The same noise on all frames."""
        import torch

        if scale is None:
            return chunks
        noise = None

        def added(chunk: Any) -> Any:
            nonlocal noise
            if noise is None:
                drawn = torch.randn(chunk.shape[-2:], generator=self._generator, dtype=chunk.dtype)
                noise = (drawn[None].to(chunk.device) * scale.to(chunk))[None, :, None]
            return chunk + noise

        return _each(added, chunks)

    def _upsampled(self, upsampler: Any, chunks: Chunks) -> Iterator[Any]:
        """The first frame gives one frame, each other one gives `stride[0]`."""
        skipped = _Skipped(chunks)
        stride = upsampler.stride
        repeats = stride[0] * stride[1] * stride[2] // upsampler.upscale_factor
        surplus = stride[0] - 1

        def spread(chunk: Any) -> Any:
            nonlocal surplus
            past = skipped.take(chunk.shape[2])
            large = _spread(chunk, stride)
            if upsampler.residual:
                large = large + _spread(past, stride).repeat(1, repeats, 1, 1, 1)
            cut, surplus = surplus, 0
            return large[:, :, cut:]

        return _each(spread, self.conv(upsampler.conv, skipped))


def _each(change: Callable[[Any], Any], chunks: Chunks) -> Iterator[Any]:
    for chunk in chunks:
        made = [change(chunk)]
        del chunk
        yield made.pop()


class _Skipped:
    """Passes chunks on, and keeps their frames for what goes around a layer that lags behind."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._frames: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        for chunk in self._chunks:
            passed = [chunk]
            self._frames.extend(chunk.split(1, dim=2))
            del chunk
            yield passed.pop()

    def take(self, frames: int) -> Any:
        import torch

        taken, left = self._frames[:frames], self._frames[frames:]
        # What is left is no longer to hold on to the chunks it is of.
        self._frames = [frame.clone() for frame in left]
        return torch.cat(taken, dim=2)


class _Shifts:
    """What the timestep does to the two halves of a block."""

    def __init__(self, block: Any, told: Any) -> None:
        self._block = block
        self._told = told
        self._made: tuple[Any, ...] | None = None

    def first(self, chunk: Any) -> Any:
        return self._moved(chunk, 0)

    def second(self, chunk: Any) -> Any:
        return self._moved(chunk, 2)

    def _moved(self, chunk: Any, at: int) -> Any:
        table = self._block.scale_shift_table
        if table is None:
            return chunk
        if self._made is None:
            told = self._told(chunk).unflatten(1, (4, -1))
            self._made = (told + table.to(chunk)[None, ..., None, None, None]).unbind(dim=1)
        return chunk * (1 + self._made[at + 1]) + self._made[at]


def _normed(norm: Any, chunk: Any) -> Any:
    """Over the channels of each pixel."""
    return norm(chunk.movedim(1, -1)).movedim(-1, 1)


def _spread(chunk: Any, stride: tuple[int, int, int]) -> Any:
    """Channels [c·t·h·w] become t frames of h·w as many pixels."""
    frames, height, width = chunk.shape[2:]
    parts = chunk.reshape(1, -1, *stride, frames, height, width)
    return parts.permute(0, 1, 5, 2, 6, 3, 7, 4).flatten(6, 7).flatten(4, 5).flatten(2, 3)


def _unpacked(patch: int, patch_t: int, chunk: Any) -> Any:
    """The pixels that the last layer made as channels."""
    frames, height, width = chunk.shape[2:]
    parts = chunk.reshape(1, -1, patch_t, patch, patch, frames, height, width)
    return parts.permute(0, 1, 5, 2, 6, 4, 7, 3).flatten(6, 7).flatten(4, 5).flatten(2, 3)
