"""Tiny random Wan pipelines of each kind. Torch is imported on use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.families.tiny_transformers import letter_tokenizer
from tests.families.tiny_videos import image_processor, seeded, vision


def wan_vae() -> Any:
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=4,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )


def wan_transformer(in_channels: int = 16, image_dim: int | None = None) -> Any:
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=in_channels,
        out_channels=16,
        text_dim=32,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
        image_dim=image_dim,
    )


def umt5() -> Any:
    from transformers import UMT5Config, UMT5EncoderModel

    config = UMT5Config(vocab_size=98, d_model=32, d_ff=37, d_kv=8, num_heads=4, num_layers=2)
    return UMT5EncoderModel(config).eval()


def _wan_parts(in_channels: int = 16, image_dim: int | None = None) -> dict[str, Any]:
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return {
        "tokenizer": letter_tokenizer(),
        "text_encoder": umt5(),
        "vae": wan_vae(),
        "scheduler": scheduler,
        "transformer": wan_transformer(in_channels, image_dim),
    }


def wan(folder: Path) -> Path:
    from diffusers import WanPipeline

    seeded()
    WanPipeline(**_wan_parts()).save_pretrained(folder)
    return folder


def wan_two(folder: Path) -> Path:
    """Wan 2.2: one transformer for much noise, one for little."""
    from diffusers import WanPipeline

    seeded()
    second = wan_transformer()
    parts = {**_wan_parts(), "transformer_2": second, "boundary_ratio": 0.875}
    WanPipeline(**parts).save_pretrained(folder)
    return folder


def wan_both(folder: Path) -> Path:
    """Wan 2.2 of 5B, by its kind: a given picture is a frame without noise."""
    from diffusers import WanPipeline

    seeded()
    WanPipeline(**_wan_parts(), expand_timesteps=True).save_pretrained(folder)
    return folder


def wan_image(folder: Path) -> Path:
    """Wan 2.1, which looks at the picture by CLIP too."""
    from diffusers import WanImageToVideoPipeline

    seeded()
    looking = {"image_encoder": vision(False), "image_processor": image_processor()}
    WanImageToVideoPipeline(**_wan_parts(36, 32), **looking).save_pretrained(folder)
    return folder


def wan_image_two(folder: Path) -> Path:
    """Wan 2.2, without CLIP and with two transformers."""
    from diffusers import WanImageToVideoPipeline

    seeded()
    more = {"transformer_2": wan_transformer(36), "boundary_ratio": 0.9}
    WanImageToVideoPipeline(**_wan_parts(36), **more).save_pretrained(folder)
    return folder
