"""Tiny random pipelines of the Stable Diffusion kind beside the plain one: inpainting, XL, the
refiner, and the two upscalers. Torch is imported on use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.families.tiny_models import byte_tokenizer, text_encoder, vae


def ddim() -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)


def unet(**config: Any) -> Any:
    from diffusers import UNet2DConditionModel

    own = {
        "sample_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (16, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**{**own, **config})


def inpainting(folder: Path) -> Path:
    """StableDiffusionInpaintPipeline with the 9 channels of a model trained for it, native 64."""
    import torch
    from diffusers import StableDiffusionInpaintPipeline

    torch.manual_seed(1)
    StableDiffusionInpaintPipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=byte_tokenizer(),
        unet=unet(in_channels=9),
        scheduler=ddim(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def instructed(folder: Path) -> Path:
    """StableDiffusionInstructPix2PixPipeline: the picture's latents are 4 more channels."""
    import torch
    from diffusers import StableDiffusionInstructPix2PixPipeline

    torch.manual_seed(10)
    StableDiffusionInstructPix2PixPipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=byte_tokenizer(),
        unet=unet(in_channels=8),
        scheduler=ddim(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def consistency(folder: Path) -> Path:
    """LatentConsistencyModelPipeline: guidance is a number that the UNet reads."""
    import torch
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler

    torch.manual_seed(11)
    LatentConsistencyModelPipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=byte_tokenizer(),
        unet=unet(time_cond_proj_dim=32),
        scheduler=LCMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def _xl_unet(text_dim: int, time_ids: int) -> Any:
    """A UNet of the XL kind: text of `text_dim` values, and `time_ids` sizes, are added to time."""
    return unet(
        cross_attention_dim=text_dim,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1),
        projection_class_embeddings_input_dim=32 + 8 * time_ids,
        use_linear_projection=True,
    )


def xl(folder: Path, in_channels: int = 4) -> Path:
    """StableDiffusionXLPipeline, native size 64."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    torch.manual_seed(2)
    StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        text_encoder_2=text_encoder(projected=True),
        tokenizer=byte_tokenizer(),
        tokenizer_2=byte_tokenizer(),
        unet=_xl_unet(text_dim=64, time_ids=6),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def refiner(folder: Path) -> Path:
    """The XL refiner: one text encoder, five size and score values, pictures in, pictures out."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLImg2ImgPipeline

    torch.manual_seed(3)
    StableDiffusionXLImg2ImgPipeline(
        vae=vae(),
        text_encoder=None,
        text_encoder_2=text_encoder(projected=True),
        tokenizer=None,
        tokenizer_2=byte_tokenizer(),
        unet=_xl_unet(text_dim=32, time_ids=5),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        requires_aesthetics_score=True,
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def upscale_x4(folder: Path) -> Path:
    """StableDiffusionUpscalePipeline: the small picture is three more channels of the UNet."""
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionUpscalePipeline

    torch.manual_seed(4)
    decoder = AutoencoderKL(
        block_out_channels=(8, 8, 16),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=8,
        scaling_factor=0.08333,
    )
    StableDiffusionUpscalePipeline(
        vae=decoder,
        text_encoder=text_encoder(),
        tokenizer=byte_tokenizer(),
        unet=unet(in_channels=7, num_class_embeds=1000),
        low_res_scheduler=DDPMScheduler(),
        scheduler=ddim(),
        max_noise_level=350,
    ).save_pretrained(folder)
    return folder


def upscale_x2(folder: Path) -> Path:
    """StableDiffusionLatentUpscalePipeline: denoises latents of twice the picture's size."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionLatentUpscalePipeline

    torch.manual_seed(5)
    StableDiffusionLatentUpscalePipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=byte_tokenizer(),
        unet=unet(
            in_channels=8,
            out_channels=5,
            act_fn="gelu",
            attention_head_dim=8,
            norm_num_groups=None,
            block_out_channels=(32, 32, 64, 64),
            conv_in_kernel=1,
            conv_out_kernel=1,
            down_block_types=("KDownBlock2D", *("KCrossAttnDownBlock2D",) * 3),
            up_block_types=(*("KCrossAttnUpBlock2D",) * 3, "KUpBlock2D"),
            mid_block_type=None,
            only_cross_attention=False,
            resnet_time_scale_shift="scale_shift",
            time_embedding_type="fourier",
            timestep_post_act="gelu",
            time_cond_proj_dim=160,
        ),
        scheduler=EulerDiscreteScheduler(prediction_type="sample"),
    ).save_pretrained(folder)
    return folder
