"""Tiny random pipelines whose text encoder is a Qwen: Qwen-Image, FLUX.2 klein, Z-Image.

Torch is imported on use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.families.tiny_transformers import flow, vae16

MARKS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TURNS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer() -> Any:
    """Over single bytes: any text works."""
    from transformers import Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    tokens = [*bytes_to_unicode().values(), *MARKS]
    made = Qwen2Tokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=[],
        model_max_length=2048,
    )
    made.add_special_tokens({"additional_special_tokens": list(MARKS[1:])})
    return made


def text_encoder(number_of: Any) -> Any:
    """A Qwen2.5-VL; `number_of` gives the id of a mark."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    end = number_of("<|endoftext|>")
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": 300,
            "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [1, 1, 2]},
            "max_position_embeddings": 4096,
            "bos_token_id": end,
            "eos_token_id": end,
            "pad_token_id": end,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
            "patch_size": 14,
            "fullatt_block_indexes": [1],
        },
        image_token_id=number_of("<|image_pad|>"),
        video_token_id=number_of("<|video_pad|>"),
        vision_start_token_id=number_of("<|vision_start|>"),
        vision_end_token_id=number_of("<|vision_end|>"),
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()


def qwen_image(folder: Path) -> Path:
    """QwenImagePipeline: guided by a second look at each step; its VAE is made for video too."""
    import torch
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )

    torch.manual_seed(12)
    words = tokenizer()
    QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 1],
            num_res_blocks=1,
            temperal_downsample=[False],
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        ),
        text_encoder=text_encoder(words.convert_tokens_to_ids),
        tokenizer=words,
        transformer=QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            guidance_embeds=False,
            axes_dims_rope=(4, 4, 8),
        ),
    ).save_pretrained(folder)
    return folder


def flux2_klein(folder: Path) -> Path:
    """Flux2KleinPipeline: it reads by a Qwen3 of 28 layers, and looks at pictures one by one."""
    import torch
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
        Flux2Transformer2DModel,
    )
    from transformers import Qwen3ForCausalLM

    torch.manual_seed(13)
    words = tokenizer()
    words.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKLFlux2(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(16, 16),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=8,
        ),
        text_encoder=Qwen3ForCausalLM(qwen3(layers=28)).eval(),
        tokenizer=words,
        transformer=transformer,
    ).save_pretrained(folder)
    return folder


def z_image(folder: Path) -> Path:
    """ZImagePipeline: guided by any scale above 0; each prompt keeps its own length."""
    import torch
    from diffusers import ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Model

    torch.manual_seed(21)
    words = tokenizer()
    words.chat_template = TURNS
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[1024, 256, 256],
    )
    # Both come with whatever the memory held.
    torch.nn.init.normal_(transformer.x_pad_token)
    torch.nn.init.normal_(transformer.cap_pad_token)
    ZImagePipeline(
        scheduler=flow(),
        vae=vae16(),
        text_encoder=Qwen3Model(qwen3(layers=2)).eval(),
        tokenizer=words,
        transformer=transformer,
    ).save_pretrained(folder)
    return folder


def qwen3(layers: int) -> Any:
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )
