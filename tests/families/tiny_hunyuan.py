"""Tiny random HunyuanVideo pipelines, whose text encoders are a Llama and a LLaVA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.families.tiny_models import byte_tokenizer, text_encoder
from tests.families.tiny_transformers import flow
from tests.families.tiny_videos import image_processor

SPECIAL = ("<image>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
WORDS = 200
# What the pipeline's own template takes a picture for: 24 x 24 patches.
PATCH, SIDE = 14, 336


def word_tokenizer() -> Any:
    """One token for each sign and each eight letters of a word, of which few are known.

    So the pipelines' own templates have as many tokens as these take off before the prompt.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = ["<pad>", "<unk>", *SPECIAL, "a", "red", "blue", "circle"]
    vocab = {word: number for number, word in enumerate(known)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    pieces = Regex(r"\w{1,8}|[^\w\s]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(pieces, "removed", invert=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=list(SPECIAL),
        model_max_length=1024,
    )


def _llama_config() -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=WORDS,
        hidden_size=16,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=1024,
        pad_token_id=0,
        bos_token_id=6,
        eos_token_id=5,
    )


def _llava() -> Any:
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

    looking = CLIPVisionConfig(
        hidden_size=16,
        projection_dim=16,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
    )
    config = LlavaConfig(
        vision_config=looking,
        text_config=_llama_config(),
        image_token_index=2,
        pad_token_id=0,
        vision_feature_layer=-1,
    )
    return LlavaForConditionalGeneration(config).eval()


def _parts(text: Any, in_channels: int, condition: str | None) -> dict[str, Any]:
    from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel

    transformer = HunyuanVideoTransformer3DModel(
        in_channels=in_channels,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=2,
        patch_size_t=1,
        guidance_embeds=condition != "latent_concat",
        text_embed_dim=16,
        pooled_projection_dim=32,
        rope_axes_dim=(4, 4, 4),
        image_condition_type=condition,
    )
    autoencoder = AutoencoderKLHunyuanVideo(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=0.476986,
        spatial_compression_ratio=8,
        temporal_compression_ratio=4,
        mid_block_add_attention=True,
    )
    return {
        "transformer": transformer,
        "vae": autoencoder,
        "scheduler": flow(),
        "text_encoder": text,
        "tokenizer": word_tokenizer(),
        "text_encoder_2": text_encoder(),
        "tokenizer_2": byte_tokenizer(),
    }


def hunyuan(folder: Path) -> Path:
    import torch
    from diffusers import HunyuanVideoPipeline
    from transformers import LlamaModel

    torch.manual_seed(9)
    parts = _parts(LlamaModel(_llama_config()).eval(), 4, None)
    HunyuanVideoPipeline(**parts).save_pretrained(folder)
    return folder


def hunyuan_image(folder: Path, condition: str = "latent_concat") -> Path:
    """`condition`: "latent_concat" sees the picture beside the latents, "token_replace" in them."""
    import torch
    from diffusers import HunyuanVideoImageToVideoPipeline

    torch.manual_seed(9)
    channels = 9 if condition == "latent_concat" else 4
    parts = {**_parts(_llava(), channels, condition), "image_processor": image_processor(SIDE)}
    HunyuanVideoImageToVideoPipeline(**parts).save_pretrained(folder)
    return folder


def hunyuan_replaced(folder: Path) -> Path:
    return hunyuan_image(folder, "token_replace")
