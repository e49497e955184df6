"""Tiny random pipelines that read sentences by a T5, a Gemma or a Bert: PixArt Alpha, AuraFlow,
CogView 3 Plus, Hunyuan-DiT, Sana, Lumina 2. Torch is imported on use.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.families.tiny_models import vae
from tests.families.tiny_stable_diffusions import ddim
from tests.families.tiny_transformers import flow, letter_tokenizer, pixart, t5

WORD_MARK = "▁"


def vae8(channels: int = 4, **config: Any) -> Any:
    """A decoder that makes 8x8 pixels of a latent, as some pipelines take for granted."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=4,
        **config,
    )


def pixart_alpha(folder: Path) -> Path:
    """PixArtAlphaPipeline told of sizes, its denoiser by the name that published ones go by."""
    pixart(folder, "PixArtAlphaPipeline", sample_size=128, use_additional_conditions=True)
    for file, key in (("model_index.json", "transformer"), ("transformer/config.json", None)):
        config = json.loads((folder / file).read_text("utf-8"))
        if key:
            config[key] = ["diffusers", "Transformer2DModel"]
        else:
            config |= {"_class_name": "Transformer2DModel", "norm_type": "ada_norm_single"}
        (folder / file).write_text(json.dumps(config), "utf-8")
    return folder


def aura_flow(folder: Path) -> Path:
    """AuraFlowPipeline: it knows 16x16 places, each of 2x2 latents."""
    import torch
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(14)
    reader = UMT5Config(vocab_size=98, d_model=32, d_ff=37, d_kv=8, num_heads=4, num_layers=2)
    AuraFlowPipeline(
        tokenizer=letter_tokenizer(),
        text_encoder=UMT5EncoderModel(reader).eval(),
        vae=vae(),
        transformer=AuraFlowTransformer2DModel(
            sample_size=32,
            num_mmdit_layers=1,
            num_single_dit_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=32,
            caption_projection_dim=32,
            pos_embed_max_size=32 * 32,
        ),
        scheduler=flow(),
    ).save_pretrained(folder)
    return folder


def cogview3(folder: Path) -> Path:
    """CogView3PlusPipeline, with a scheduler of its own."""
    import torch
    from diffusers import (
        CogVideoXDDIMScheduler,
        CogView3PlusPipeline,
        CogView3PlusTransformer2DModel,
    )

    torch.manual_seed(15)
    CogView3PlusPipeline(
        tokenizer=letter_tokenizer(),
        text_encoder=t5(),
        vae=vae(),
        transformer=CogView3PlusTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            text_embed_dim=32,
            time_embed_dim=16,
            condition_dim=4,
            pos_embed_max_size=64,
            sample_size=32,
        ),
        scheduler=CogVideoXDDIMScheduler(
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            snr_shift_scale=4.0,
            timestep_spacing="trailing",
        ),
    ).save_pretrained(folder)
    return folder


def hunyuan_dit(folder: Path) -> Path:
    """HunyuanDiTPipeline: read by a Bert of 77 tokens and a T5 of 256."""
    import torch
    from diffusers import HunyuanDiT2DModel, HunyuanDiTPipeline
    from transformers import BertConfig, BertModel, BertTokenizer

    torch.manual_seed(16)
    letters = [chr(code) for code in range(33, 127)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{x}" for x in letters)]
    reader = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=37,
        max_position_embeddings=77,
    )
    HunyuanDiTPipeline(
        vae=vae8(),
        text_encoder=BertModel(reader).eval(),
        tokenizer=BertTokenizer(vocab={word: n for n, word in enumerate(words)}),
        transformer=HunyuanDiT2DModel(
            sample_size=8,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=2,
            in_channels=4,
            hidden_size=16,
            cross_attention_dim=32,
            cross_attention_dim_t5=32,
            pooled_projection_dim=16,
        ),
        scheduler=ddim(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        text_encoder_2=t5(),
        tokenizer_2=letter_tokenizer(),
    ).save_pretrained(folder)
    return folder


def gemma_tokenizer() -> Any:
    """Over single printable ASCII characters."""
    from transformers import GemmaTokenizer

    letters = [WORD_MARK, *(chr(code) for code in range(33, 127))]
    ends = ["<pad>", "<eos>", "<bos>", "<unk>"]
    return GemmaTokenizer(
        vocab={token: number for number, token in enumerate([*ends, *letters])},
        merges=[],
        model_max_length=2048,
        add_bos_token=True,
    )


def gemma(hidden: int = 32) -> Any:
    from transformers import Gemma2Config, Gemma2Model

    config = Gemma2Config(
        vocab_size=99,
        hidden_size=hidden,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=2048,
        attn_logit_softcapping=None,
    )
    return Gemma2Model(config).eval()


def sana(folder: Path) -> Path:
    """SanaPipeline: 32x32 pixels a latent, and a solver for flows that is made for noise too."""
    import torch
    from diffusers import DPMSolverMultistepScheduler, SanaPipeline

    torch.manual_seed(17)
    SanaPipeline(
        tokenizer=gemma_tokenizer(),
        text_encoder=gemma(),
        vae=deep_vae(),
        transformer=sana_transformer(),
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    ).save_pretrained(folder)
    return folder


def deep_vae() -> Any:
    from diffusers import AutoencoderDC

    return AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_out_channels=(8,) * 6,
        decoder_block_out_channels=(8,) * 6,
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        encoder_qkv_multiscales=((),) * 6,
        decoder_qkv_multiscales=((),) * 6,
        downsample_block_type="Conv",
        upsample_block_type="interpolate",
        scaling_factor=0.41407,
    )


def sana_transformer(**config: Any) -> Any:
    from diffusers import SanaTransformer2DModel

    return SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=32,
        sample_size=32,
        **config,
    )


def lumina2(folder: Path) -> Path:
    """Lumina2Pipeline: what a prompt may take includes the pipeline's own sentence before it."""
    import torch
    from diffusers import Lumina2Pipeline, Lumina2Transformer2DModel

    torch.manual_seed(18)
    Lumina2Pipeline(
        transformer=Lumina2Transformer2DModel(
            sample_size=8,
            in_channels=4,
            hidden_size=24,
            num_layers=1,
            num_refiner_layers=1,
            num_attention_heads=3,
            num_kv_heads=1,
            multiple_of=2,
            axes_dim_rope=(4, 2, 2),
            axes_lens=(300, 128, 128),
            cap_feat_dim=32,
        ),
        scheduler=flow(),
        vae=vae8(shift_factor=0.06, scaling_factor=1.5),
        text_encoder=gemma(),
        tokenizer=gemma_tokenizer(),
    ).save_pretrained(folder)
    return folder
