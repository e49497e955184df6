"""Tiny random pipelines for videos but Wan and HunyuanVideo, saved as diffusers folders.

Torch is imported on use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.families.tiny_models import byte_tokenizer, stable_diffusion, text_encoder
from tests.families.tiny_transformers import flow, letter_tokenizer, t5


def seeded() -> None:
    import torch

    torch.manual_seed(4)


def vision(projected: bool, size: int = 32, patch: int = 16) -> Any:
    from transformers import (
        CLIPVisionConfig,
        CLIPVisionModel,
        CLIPVisionModelWithProjection,
    )

    config = CLIPVisionConfig(
        hidden_size=32,
        projection_dim=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=size,
        intermediate_size=37,
        patch_size=patch,
    )
    return (CLIPVisionModelWithProjection if projected else CLIPVisionModel)(config)


def image_processor(size: int = 32) -> Any:
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(crop_size=size, size=size)


def ltx(folder: Path) -> Path:
    from diffusers import AutoencoderKLLTXVideo, LTXPipeline, LTXVideoTransformer3DModel

    seeded()
    transformer = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        patch_size=1,
        patch_size_t=1,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=1,
        caption_channels=32,
    )
    autoencoder = AutoencoderKLLTXVideo(
        in_channels=3,
        out_channels=3,
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, True, False),
        decoder_spatio_temporal_scaling=(True, True, True, False),
        decoder_inject_noise=(False, False, False, False, False),
        upsample_residual=(False, False, False, False),
        upsample_factor=(1, 1, 1, 1),
        timestep_conditioning=False,
        patch_size=4,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )
    autoencoder.use_framewise_encoding = autoencoder.use_framewise_decoding = False
    LTXPipeline(
        transformer=transformer,
        vae=autoencoder,
        scheduler=flow(),
        text_encoder=t5(),
        tokenizer=letter_tokenizer(),
    ).save_pretrained(folder)
    return folder


def small_vae() -> Any:
    """Eight pixels a latent, as the large ones have it: there are many frames to draw."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
    )


def motion_adapter(folder: Path | None = None, frames: int = 16) -> Any:
    """A MotionAdapter for the tiny Stable Diffusion; a bare folder of it if one is given."""
    from diffusers import MotionAdapter

    seeded()
    adapter = MotionAdapter(
        block_out_channels=(16, 16),
        motion_layers_per_block=1,
        motion_norm_num_groups=2,
        motion_num_attention_heads=4,
        motion_max_seq_length=frames,
    )
    if folder is not None:
        adapter.save_pretrained(folder)
    return adapter


def animatediff(folder: Path) -> Path:
    """The whole pipeline, over the tiny Stable Diffusion."""
    from diffusers import AnimateDiffPipeline, StableDiffusionPipeline

    base = StableDiffusionPipeline.from_pretrained(stable_diffusion(folder.parent / "base"))
    parts = {
        name: base.components[name] for name in ("text_encoder", "tokenizer", "unet", "scheduler")
    }
    AnimateDiffPipeline(**parts, vae=small_vae(), motion_adapter=motion_adapter()).save_pretrained(
        folder
    )
    return folder


def stable_video(folder: Path) -> Path:
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        EulerDiscreteScheduler,
        StableVideoDiffusionPipeline,
        UNetSpatioTemporalConditionModel,
    )

    seeded()
    unet = UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=32,
        in_channels=8,
        out_channels=4,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        cross_attention_dim=32,
        num_attention_heads=4,
        projection_class_embeddings_input_dim=24,
        addition_time_embed_dim=8,
        num_frames=9,
    )
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        interpolation_type="linear",
        prediction_type="v_prediction",
        sigma_max=700.0,
        sigma_min=0.002,
        steps_offset=1,
        timestep_spacing="leading",
        timestep_type="continuous",
        use_karras_sigmas=True,
    )
    autoencoder = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        latent_channels=4,
    )
    StableVideoDiffusionPipeline(
        unet=unet,
        vae=autoencoder,
        scheduler=scheduler,
        image_encoder=vision(True, size=224, patch=56),
        feature_extractor=image_processor(224),
    ).save_pretrained(folder)
    return folder


def _cogvideox_parts(in_channels: int, patch_size_t: int | None) -> dict[str, Any]:
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXDDIMScheduler,
        CogVideoXTransformer3DModel,
    )

    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=16,
        in_channels=in_channels,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=1,
        sample_width=8,
        sample_height=8,
        sample_frames=9,
        patch_size=2,
        patch_size_t=patch_size_t,
        patch_bias=patch_size_t is None,
        temporal_compression_ratio=4,
        max_text_seq_length=226,
        use_rotary_positional_embeddings=True,
    )
    autoencoder = AutoencoderKLCogVideoX(
        in_channels=3,
        out_channels=3,
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    return {
        "transformer": transformer,
        "vae": autoencoder,
        "scheduler": CogVideoXDDIMScheduler(prediction_type="v_prediction"),
        "text_encoder": t5(),
        "tokenizer": letter_tokenizer(),
    }


def cogvideox(folder: Path) -> Path:
    from diffusers import CogVideoXPipeline

    seeded()
    CogVideoXPipeline(**_cogvideox_parts(4, None)).save_pretrained(folder)
    return folder


def cogvideox_15(folder: Path) -> Path:
    """CogVideoX 1.5, which takes two latent frames as one and fills up for it."""
    from diffusers import CogVideoXPipeline

    seeded()
    CogVideoXPipeline(**_cogvideox_parts(4, 2)).save_pretrained(folder)
    return folder


def cogvideox_image(folder: Path) -> Path:
    from diffusers import CogVideoXImageToVideoPipeline

    seeded()
    CogVideoXImageToVideoPipeline(**_cogvideox_parts(8, None)).save_pretrained(folder)
    return folder


def text_to_video_sd(folder: Path) -> Path:
    from diffusers import DDIMScheduler, TextToVideoSDPipeline, UNet3DConditionModel

    seeded()
    unet = UNet3DConditionModel(
        block_out_channels=(8, 8),
        layers_per_block=1,
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=2,
    )
    TextToVideoSDPipeline(
        unet=unet,
        vae=small_vae(),
        text_encoder=text_encoder(),
        tokenizer=byte_tokenizer(),
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    ).save_pretrained(folder)
    return folder
