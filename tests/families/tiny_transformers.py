"""Tiny random pipelines with a transformer for a denoiser: Stable Diffusion 3, FLUX with Fill and
Kontext, Chroma, PixArt. Torch is imported on use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.families.tiny_models import byte_tokenizer, text_encoder


def letter_tokenizer() -> Any:
    """A T5 tokenizer over single printable ASCII characters."""
    from transformers import T5Tokenizer

    letters = [(chr(code), -3.0) for code in range(33, 127)]
    ends = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return T5Tokenizer(vocab=[*ends, *letters], extra_ids=0, model_max_length=64)


def t5(hidden: int = 32) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(vocab_size=98, d_model=hidden, d_ff=37, d_kv=8, num_heads=4, num_layers=2)
    ).eval()


def vae16(channels: int = 4) -> Any:
    """A decoder without the two 1x1 convolutions and with a shift, as SD3 and FLUX have it."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 16),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=8,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.06,
        scaling_factor=1.5,
    )


def flow() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(shift=3.0)


def sd3(folder: Path) -> Path:
    """StableDiffusion3Pipeline with its three text encoders, native size 64."""
    import torch
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline

    torch.manual_seed(6)
    transformer = SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=64,
        pooled_projection_dim=64,
        pos_embed_max_size=48,
    )
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=flow(),
        vae=vae16(16),
        text_encoder=text_encoder(projected=True),
        tokenizer=byte_tokenizer(),
        text_encoder_2=text_encoder(projected=True),
        tokenizer_2=byte_tokenizer(),
        text_encoder_3=t5(64),
        tokenizer_3=letter_tokenizer(),
    ).save_pretrained(folder)
    return folder


def flux_transformer(in_channels: int = 16, *, guidance: bool = False) -> Any:
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=in_channels,
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 4, 8),
    )


def flux(
    folder: Path, kind: str = "FluxPipeline", in_channels: int = 16, *, guidance: bool = True
) -> Path:
    """A FLUX pipeline of the class `kind` (FluxPipeline, FluxKontextPipeline, FluxFillPipeline)."""
    import diffusers
    import torch

    torch.manual_seed(7)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        shift=3.0, use_dynamic_shifting=True, max_image_seq_len=4096
    )
    getattr(diffusers, kind)(
        scheduler=scheduler,
        vae=vae16(),
        text_encoder=text_encoder(),
        tokenizer=byte_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=letter_tokenizer(),
        transformer=flux_transformer(in_channels, guidance=guidance),
    ).save_pretrained(folder)
    return folder


def flux_fill(folder: Path) -> Path:
    """FluxFillPipeline: beside the latents the model sees the masked picture's, and the mask."""
    # 16 packed latents, 16 of the masked picture, and 2x2 pixels' worth of mask for each of 4.
    return flux(folder, "FluxFillPipeline", in_channels=48)


def kontext(folder: Path) -> Path:
    """FluxKontextPipeline: pictures to go by are more tokens of the sequence."""
    return flux(folder, "FluxKontextPipeline")


def chroma(folder: Path) -> Path:
    """ChromaPipeline, native size unknown."""
    import torch
    from diffusers import ChromaPipeline, ChromaTransformer2DModel

    torch.manual_seed(8)
    transformer = ChromaTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8),
        approximator_hidden_dim=32,
        approximator_layers=1,
        approximator_num_channels=16,
    )
    ChromaPipeline(
        scheduler=flow(),
        vae=vae16(),
        text_encoder=t5(),
        tokenizer=letter_tokenizer(),
        transformer=transformer,
    ).save_pretrained(folder)
    return folder


def pixart(folder: Path, kind: str = "PixArtSigmaPipeline", **config: Any) -> Path:
    """A PixArt of the class `kind`: from text only; it tells of its steps by the old kind of
    callback. `config` is of its denoiser.
    """
    import diffusers
    import torch

    from tests.families.tiny_models import vae
    from tests.families.tiny_stable_diffusions import ddim

    torch.manual_seed(9)
    own = {
        "sample_size": 32,
        "num_layers": 1,
        "patch_size": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 3,
        "caption_channels": 32,
        "in_channels": 4,
        "cross_attention_dim": 24,
        "out_channels": 8,
        "norm_num_groups": 8,
        "use_additional_conditions": False,
    }
    getattr(diffusers, kind)(
        tokenizer=letter_tokenizer(),
        text_encoder=t5(),
        vae=vae(),
        transformer=diffusers.PixArtTransformer2DModel(**{**own, **config}),
        scheduler=ddim(),
    ).save_pretrained(folder)
    return folder
