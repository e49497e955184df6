"""Tiny random pipelines that read by a language model of the GLM kind: CogView 4 and Kolors.

Torch is imported on use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.families.tiny_models import vae
from tests.families.tiny_stable_diffusions import ddim


def cogview4(folder: Path) -> Path:
    """CogView4Pipeline: prompts are filled up to the longest, and the encoder sees what is filled.

    It tells the model other timesteps than those of the noise levels.
    """
    import torch
    from diffusers import (
        CogView4Pipeline,
        CogView4Transformer2DModel,
        FlowMatchEulerDiscreteScheduler,
    )
    from transformers import GlmConfig, GlmModel

    torch.manual_seed(19)
    reader = GlmConfig(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        pad_token_id=0,
    )
    CogView4Pipeline(
        tokenizer=left_tokenizer(),
        text_encoder=GlmModel(reader).eval(),
        vae=vae(),
        transformer=CogView4Transformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            text_embed_dim=32,
            time_embed_dim=16,
            condition_dim=4,
            sample_size=32,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(
            base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True, time_shift_type="linear"
        ),
    ).save_pretrained(folder)
    return folder


def left_tokenizer() -> Any:
    """Over single printable ASCII characters, filled up at the left."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = ["<pad>", "<unk>", "<sop>", " ", *(chr(code) for code in range(33, 127))]
    words = Tokenizer(models.WordLevel({x: n for n, x in enumerate(letters)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    start = ("<sop>", letters.index("<sop>"))
    words.post_processor = processors.TemplateProcessing(single="<sop> $A", special_tokens=[start])
    return PreTrainedTokenizerFast(
        tokenizer_object=words, padding_side="left", pad_token="<pad>", unk_token="<unk>"
    )


def kolors(folder: Path) -> Path:
    """KolorsPipeline, whose text encoder and tokenizer are classes that diffusers has itself."""
    import torch
    from diffusers import KolorsPipeline, UNet2DConditionModel

    torch.manual_seed(20)
    unet = UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(16, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 32,
        cross_attention_dim=16,
        encoder_hid_dim=32,
        encoder_hid_dim_type="text_proj",
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = folder.with_suffix(".model")
    pieces(words)
    KolorsPipeline(
        vae=vae(),
        text_encoder=chat_glm(),
        tokenizer=glm_tokenizer(words),
        unet=unet,
        scheduler=ddim(),
    ).save_pretrained(folder)
    return folder


def glm_tokenizer(words: Path) -> Any:
    from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer

    return ChatGLMTokenizer(str(words))


def chat_glm() -> Any:
    import torch
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel

    reader = ChatGLMModel(
        ChatGLMConfig(
            num_layers=2,
            padded_vocab_size=120,
            hidden_size=32,
            ffn_hidden_size=16,
            kv_channels=8,
            num_attention_heads=2,
            seq_length=512,
            add_qkv_bias=True,
            multi_query_attention=True,
            original_rope=True,
            use_cache=True,
        )
    )
    # It comes with whatever the memory held.
    for name, weight in reader.named_parameters():
        weight.data = torch.ones_like(weight) if "norm" in name else torch.randn_like(weight) / 4
    return reader.eval()


def pieces(file: Path) -> None:
    """A sentencepiece model over single printable ASCII characters."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    letters = ["▁", *(chr(code) for code in range(33, 127))]
    kinds = [("<unk>", 2), ("<s>", 3), ("</s>", 3), *((letter, 1) for letter in letters)]
    for piece, kind in kinds:
        model.pieces.add(piece=piece, score=-3.0, type=kind)
    model.trainer_spec.vocab_size = len(kinds)
    model.normalizer_spec.name = "identity"
    file.write_bytes(model.SerializeToString())
