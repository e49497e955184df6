"""Tiny random language models of several kinds, with a tokenizer over bytes and a chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

VOCAB = 320
CONTEXT = 256
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PICTURE_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IDS = {"bos_token_id": 256, "eos_token_id": 258, "pad_token_id": 257}


def byte_tokenizer(*extra: str, template: str = TEMPLATE) -> Any:
    """Ids 0 to 255 are bytes, 256 begins a text, 258 ends a turn, `extra` come from 259 on."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    vocab = {letter: number for number, letter in bytes_to_unicode().items()}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|im_start|>", "<|pad|>", "<|im_end|>", *extra])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        extra_special_tokens={f"own_{number}_token": token for number, token in enumerate(extra)},
        model_max_length=CONTEXT,
    )
    tokenizer.chat_template = template
    return tokenizer


def attentive(kind: str = "llama", **changes: Any) -> Any:
    """Configuration of a model type that names its sizes as Llama does."""
    from transformers import AutoConfig

    sizes = {
        "vocab_size": VOCAB,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
    }
    return AutoConfig.for_model(kind, **(sizes | IDS | changes))


def gpt2() -> Any:
    from transformers import GPT2Config

    sizes: dict[str, Any] = {"vocab_size": VOCAB, "n_positions": CONTEXT, "n_embd": 64}
    return GPT2Config(**sizes, n_layer=2, n_head=4, **IDS)


def mamba() -> Any:
    """It has no attention."""
    from transformers import MambaConfig

    return MambaConfig(vocab_size=VOCAB, hidden_size=64, state_size=8, num_hidden_layers=2, **IDS)


def save(folder: Path, config: Any, seed: int = 0) -> Path:
    """The model of a configuration with random weights, in float32, saved with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


KINDS: dict[str, Any] = {
    "llama": attentive,
    "qwen2": lambda: attentive("qwen2"),
    "qwen3": lambda: attentive("qwen3"),
    "gemma2": lambda: attentive("gemma2", sliding_window=8, query_pre_attn_scalar=16),
    "gpt2": gpt2,
    "mamba": mamba,
}


def language_model(folder: Path, kind: str = "llama", **changes: Any) -> Path:
    return save(folder, KINDS[kind](**changes))


def llava(folder: Path) -> Path:
    """A LLaVA that sees 32x32 pixels in 4 patches."""
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(0)
    tokenizer = byte_tokenizer("<image>", template=PICTURE_TEMPLATE)
    eyes = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=16,
        projection_dim=32,
    )
    config = LlavaConfig(
        vision_config=eyes,
        text_config=attentive(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        **IDS,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size=size, do_center_crop=True
        ),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
        chat_template=PICTURE_TEMPLATE,
    ).save_pretrained(folder)
    return folder
