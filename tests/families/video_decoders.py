"""Tiny random decoders for videos, and what their pipelines make of latents all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

SEED = 3


class Pipeline(SimpleNamespace):
    """As much of a pipeline as decoding asks for."""

    freed = 0

    def maybe_free_model_hooks(self) -> None:
        self.freed += 1


@dataclass
class Context:
    """Of one run: it counts, and stops when it has counted so far."""

    lean: bool = False
    stop_at: int | None = None
    handed_over: int = 0
    checked: int = 0
    entry: Any = field(default_factory=lambda: SimpleNamespace(name="a-model"))
    device: Any = field(default_factory=lambda: SimpleNamespace(id="cpu"))

    def hand_over(self) -> None:
        from onebox.core.errors import Cancelled

        self.handed_over += 1
        if self.handed_over == self.stop_at:
            raise Cancelled("nobody waits for it")

    def check(self) -> None:
        self.checked += 1


@dataclass(frozen=True)
class Case:
    """A decoder, latents of so many steps in time, and the library's own frames.

    Attributes:
        ratio, time_ratio: pixels and frames for each latent.
        whole: of the latents as the pipeline holds them, pixels [1, 3, n, h, w].
    """

    pipeline: Pipeline
    ratio: int
    time_ratio: int
    latents: Callable[[int, int, int], Any]
    whole: Callable[[Any], Any]

    def frames(self, steps: int) -> int:
        return (steps - 1) * self.time_ratio + 1


def seeded() -> None:
    import torch

    torch.manual_seed(SEED)


def flat() -> Case:
    from diffusers import AnimateDiffPipeline, AutoencoderKL

    seeded()
    vae = AutoencoderKL(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
    )
    pipeline = Pipeline(vae=vae.eval())
    whole = AnimateDiffPipeline.decode_latents
    return Case(pipeline, 2, 1, noise(4), lambda latents: whole(pipeline, latents, 64))


def temporal() -> Case:
    from diffusers import AutoencoderKLTemporalDecoder, StableVideoDiffusionPipeline

    seeded()
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2
    )
    pipeline = Pipeline(vae=vae.eval())
    whole = StableVideoDiffusionPipeline.decode_latents

    def once(latents: Any) -> Any:
        return whole(pipeline, latents, latents.shape[1], latents.shape[1])

    return Case(pipeline, 2, 1, noise(4, frames_first=True), once)


def wan(**more: Any) -> Case:
    import torch
    from diffusers import AutoencoderKLWan

    seeded()
    vae = AutoencoderKLWan(
        base_dim=4,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        **more,
    ).eval()

    def once(latents: Any) -> Any:
        mean, std = (
            torch.tensor(values).view(1, -1, 1, 1, 1)
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        return vae.decode(latents / (1.0 / std) + mean).sample

    return Case(Pipeline(vae=vae), 16 if more else 8, 4, noise(16), once)


def wan_patches() -> Case:
    """Wan 2.2 of 5B, by its kind."""
    return wan(
        is_residual=True, patch_size=2, in_channels=12, out_channels=12, scale_factor_spatial=16
    )


def cogvideox() -> Case:
    from diffusers import AutoencoderKLCogVideoX, CogVideoXPipeline

    seeded()
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
    ).eval()
    scale = vae.config.scaling_factor
    pipeline = Pipeline(vae=vae, vae_scaling_factor_image=scale, vae_scale_factor_temporal=4)
    whole = CogVideoXPipeline.decode_latents
    return Case(
        pipeline, 8, 4, noise(4, frames_first=True), lambda latents: whole(pipeline, latents)
    )


def hunyuan() -> Case:
    from diffusers import AutoencoderKLHunyuanVideo

    seeded()
    vae = AutoencoderKLHunyuanVideo(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=4
    ).eval()

    def once(latents: Any) -> Any:
        return vae.decode(latents / vae.config.scaling_factor).sample

    return Case(Pipeline(vae=vae), 8, 4, noise(4), once)


def ltx(noisy: bool = False, causal: bool = False) -> Case:
    """`noisy`: of the versions that add noise and are told how much is left."""
    import torch
    from diffusers import AutoencoderKLLTXVideo, LTXPipeline

    seeded()
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8),
        layers_per_block=(1, 1, 1),
        down_block_types=("LTXVideoDownBlock3D",) * 3,
        downsample_type=("conv",) * 3,
        spatio_temporal_scaling=(True, True, False),
        decoder_block_out_channels=(8, 16),
        decoder_layers_per_block=(1, 2, 1),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(noisy,) * 3,
        upsample_residual=(noisy, noisy),
        upsample_factor=(2, 2) if noisy else (1, 1),
        timestep_conditioning=noisy,
        decoder_causal=causal,
        patch_size=4,
    ).eval()
    scales = (p for name, p in vae.named_parameters() if "per_channel_scale" in name)
    for scale in scales:
        torch.nn.init.normal_(scale)

    def once(packed: Any) -> Any:
        latents = packed.unflatten(1, (-1, 6, 5)).permute(0, 4, 1, 2, 3)
        seeded()
        if not noisy:
            return vae.decode(latents).sample
        latents = (1 - 0.025) * latents + 0.025 * torch.randn(latents.shape)
        return vae.decode(latents, torch.tensor([0.05])).sample

    def packed(steps: int, height: int, width: int) -> Any:
        return noise(8)(steps, height, width).permute(0, 2, 3, 4, 1).flatten(1, 3)

    pipeline = Pipeline(
        vae=vae,
        vae_temporal_compression_ratio=4,
        vae_spatial_compression_ratio=16,
        transformer_spatial_patch_size=1,
        transformer_temporal_patch_size=1,
        _unpack_latents=LTXPipeline._unpack_latents,
        _denormalize_latents=LTXPipeline._denormalize_latents,
    )
    return Case(pipeline, 16, 4, packed, once)


def noise(channels: int, frames_first: bool = False) -> Callable[[int, int, int], Any]:
    import torch

    def draw(steps: int, height: int, width: int) -> Any:
        shape = (steps, channels) if frames_first else (channels, steps)
        return torch.randn(1, *shape, height, width) * 0.3

    return draw


def chunks_of(case: Case, latents: Any, steps: int, context: Context) -> Iterator[Any]:
    """Decoded here, of so many latents of 6 x 5 as the pipeline would show."""
    import torch

    from onebox.imaging.video.decoding import decoded

    return decoded(
        case.pipeline,
        latents,
        frames=case.frames(steps),
        width=5 * case.ratio,
        height=6 * case.ratio,
        generator=torch.Generator().manual_seed(SEED),
        context=context,
    )


def as_bytes(pixels: Any) -> np.ndarray:
    """What diffusers makes of pixels for a video file."""
    from diffusers.video_processor import VideoProcessor

    frames = VideoProcessor().postprocess_video(pixels, "np")[0]
    return (frames * 255).round().astype(np.uint8)
