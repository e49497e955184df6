"""What each class of video decoder makes of latents, a few frames at a time.

| class | a video at once | here |
|---|---|---|
| AutoencoderKL | frames do not see each other | the same frames, in smaller batches |
| AutoencoderKLTemporalDecoder | frames see each other, norms are of them all | runs of frames |
| AutoencoderKLWan | goes from latent to latent itself | the same, given out as it comes |
| AutoencoderKLCogVideoX | goes by two latents itself | the same, given out as it comes |
| AutoencoderKLHunyuanVideo | overlapping runs, blended | the same, given out as it comes |
| AutoencoderKLLTXVideo | frames see each other, norms are per pixel | layers that pass frames on |

So all but one give the frames that their pipeline would, up to the rounding of a batch of another
size; AutoencoderKLTemporalDecoder does so for a video of one run, and otherwise comes close to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onebox.imaging.video.ltx_decoder import ltx_frames

# Of a run, as many as diffusers decodes at a time; and of those that are decoded with it on both
# sides and thrown away. In a random decoder, which minds its neighbours more than a trained one,
# three of them took the seam between runs from 14 levels of 255 to 1.5.
RUN_FRAMES = 14
SIDE_FRAMES = 3
# Of a batch of frames that do not see each other: a large one alone fills a device.
BATCH_PIXELS = 1024 * 1024
MAX_BATCH_FRAMES = 16
# How LTX's authors decode, with those versions that know how much noise is left.
DECODE_TIMESTEP = 0.05
DECODE_NOISE = 0.025

# Of a VAE and its latents [1, c, t, h, w] the pixels [1, 3, n, h, w], between -1 and 1.
Stream = Callable[[Any, Any], Iterator[Any]]


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the video that is to be."""

    frames: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Decoder:
    """One class.

    Attributes:
        unscale: of pipeline, what it gave as latents, and the shape: latents [1, c, t, h, w] as the
            decoder takes them.
        create: makes the stream, of a generator for its noise and the shape.
    """

    unscale: Callable[[Any, Any, Shape], Any]
    create: Callable[[Any, Shape], Stream]


def decoder_of(vae: Any) -> Decoder:
    """Raises KeyError for a class that is not in the table."""
    return _DECODERS[type(vae).__name__]


def _of_frames(pipeline: Any, latents: Any, shape: Shape) -> Any:
    return 1 / pipeline.vae.config.scaling_factor * latents


def _of_turned_frames(pipeline: Any, latents: Any, shape: Shape) -> Any:
    """They come as [1, t, c, h, w]."""
    return _of_frames(pipeline, latents.transpose(1, 2), shape)


def _of_cog(pipeline: Any, latents: Any, shape: Shape) -> Any:
    """They come as [1, t, c, h, w]; the denoiser may have wanted more of them, at the front."""
    wanted = (shape.frames - 1) // pipeline.vae_scale_factor_temporal + 1
    shown = latents[:, latents.shape[1] - wanted :].transpose(1, 2)
    return 1 / pipeline.vae_scaling_factor_image * shown


def _of_wan(pipeline: Any, latents: Any, shape: Shape) -> Any:
    import torch

    config = pipeline.vae.config
    latents = latents.to(pipeline.vae.dtype)
    mean = torch.tensor(config.latents_mean).view(1, -1, 1, 1, 1).to(latents)
    factor = 1.0 / torch.tensor(config.latents_std).view(1, -1, 1, 1, 1).to(latents)
    return latents / factor + mean


def _of_hunyuan(pipeline: Any, latents: Any, shape: Shape) -> Any:
    return latents.to(pipeline.vae.dtype) / pipeline.vae.config.scaling_factor


def _of_ltx(pipeline: Any, latents: Any, shape: Shape) -> Any:
    vae = pipeline.vae
    if latents.dim() == 3:
        latents = pipeline._unpack_latents(
            latents,
            (shape.frames - 1) // pipeline.vae_temporal_compression_ratio + 1,
            shape.height // pipeline.vae_spatial_compression_ratio,
            shape.width // pipeline.vae_spatial_compression_ratio,
            pipeline.transformer_spatial_patch_size,
            pipeline.transformer_temporal_patch_size,
        )
    return pipeline._denormalize_latents(
        latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor
    )


def _single_frames(generator: Any, shape: Shape) -> Stream:
    def stream(vae: Any, latents: Any) -> Iterator[Any]:
        ratio = 2 ** (len(vae.config.block_out_channels) - 1)
        pixels = latents.shape[-1] * latents.shape[-2] * ratio**2
        for batch in latents.split(max(1, min(MAX_BATCH_FRAMES, BATCH_PIXELS // pixels)), dim=2):
            yield _in_time(vae.decode(_in_batch(batch)).sample)

    return stream


def _runs(generator: Any, shape: Shape) -> Stream:
    """All runs are about as long."""

    def stream(vae: Any, latents: Any) -> Iterator[Any]:
        count = latents.shape[2]
        number = -(-count // RUN_FRAMES)
        bounds = [count * at // number for at in range(number + 1)]
        for start, end in itertools.pairwise(bounds):
            before = min(start, SIDE_FRAMES)
            run = latents[:, :, start - before : end + SIDE_FRAMES]
            pixels = _in_time(vae.decode(_in_batch(run), num_frames=run.shape[2]).sample)
            yield pixels[:, :, before : before + end - start]

    return stream


def _wan(generator: Any, shape: Shape) -> Stream:
    def stream(vae: Any, latents: Any) -> Iterator[Any]:
        # What its convolutions keep from latent to latent. Not where the VAE itself keeps it: there
        # it would be lost to a run that is nested in this one.
        kept = [None] * vae._cached_conv_counts["decoder"]
        for number, latent in enumerate(latents.split(1, dim=2)):
            pixels = vae.decoder(
                vae.post_quant_conv(latent),
                feat_cache=kept,
                feat_idx=[0],
                first_chunk=number == 0,
            )
            yield _wan_pixels(pixels, vae.config.patch_size or 1)

    return stream


def _wan_pixels(chunk: Any, patch: int) -> Any:
    """The pixels that the last layer made as channels."""
    frames, height, width = chunk.shape[2:]
    parts = chunk.view(1, -1, patch, patch, frames, height, width)
    return parts.permute(0, 1, 4, 5, 3, 6, 2).reshape(1, -1, frames, height * patch, width * patch)


def _cog(generator: Any, shape: Shape) -> Stream:
    def stream(vae: Any, latents: Any) -> Iterator[Any]:
        count, kept = latents.shape[2], None
        step = vae.num_latent_frames_batch_size
        # An odd one goes with the first.
        bounds = [0, *range(step + count % step, count, step), count]
        for start, end in itertools.pairwise(bounds):
            chunk = latents[:, :, start:end]
            if vae.post_quant_conv is not None:
                chunk = vae.post_quant_conv(chunk)
            pixels, kept = vae.decoder(chunk, conv_cache=kept)
            yield pixels

    return stream


def _hunyuan(generator: Any, shape: Shape) -> Stream:
    def stream(vae: Any, latents: Any) -> Iterator[Any]:
        # A picture to start from can have brought frames of its own, at the front.
        total = (latents.shape[2] - 1) * vae.temporal_compression_ratio + 1
        surplus = total - shape.frames
        for chunk in _blended_runs(vae, latents):
            shown = chunk[:, :, surplus:]
            surplus = max(0, surplus - chunk.shape[2])
            if shown.shape[2]:
                yield shown

    return stream


def _blended_runs(vae: Any, latents: Any) -> Iterator[Any]:
    ratio = vae.temporal_compression_ratio
    length = vae.tile_sample_min_num_frames // ratio
    stride = vae.tile_sample_stride_num_frames
    overlap = vae.tile_sample_min_num_frames - stride
    count = latents.shape[2]
    if not vae.use_framewise_decoding or count <= length:
        yield vae.decoder(vae.post_quant_conv(latents))
        return
    before = None
    for start in range(0, count - 1, stride // ratio):
        run = vae.decoder(vae.post_quant_conv(latents[:, :, start : start + length + 1]))
        shown = stride + 1
        if before is not None:
            run, shown = vae.blend_t(before, run[:, :, 1:], overlap), stride
        yield run[:, :, :shown]
        before = run[:, :, -overlap:].clone()


def _ltx(generator: Any, shape: Shape) -> Stream:
    def stream(vae: Any, latents: Any) -> Iterator[Any]:
        import torch
        from diffusers.utils.torch_utils import randn_tensor

        timestep = None
        if vae.config.timestep_conditioning:
            noise = randn_tensor(latents.shape, generator, latents.device, latents.dtype)
            latents = (1 - DECODE_NOISE) * latents + DECODE_NOISE * noise
            timestep = torch.tensor([DECODE_TIMESTEP]).to(latents)
        return ltx_frames(vae, latents, timestep, generator)

    return stream


def _in_batch(latents: Any) -> Any:
    """[t, c, h, w] of [1, c, t, h, w]."""
    return latents[0].transpose(0, 1)


def _in_time(pixels: Any) -> Any:
    """[1, 3, n, h, w] of [n, 3, h, w]."""
    return pixels.transpose(0, 1)[None]


_DECODERS: Mapping[str, Decoder] = {
    "AutoencoderKL": Decoder(_of_frames, _single_frames),
    "AutoencoderKLTemporalDecoder": Decoder(_of_turned_frames, _runs),
    "AutoencoderKLWan": Decoder(_of_wan, _wan),
    "AutoencoderKLCogVideoX": Decoder(_of_cog, _cog),
    "AutoencoderKLHunyuanVideo": Decoder(_of_hunyuan, _hunyuan),
    "AutoencoderKLLTXVideo": Decoder(_of_ltx, _ltx),
}
