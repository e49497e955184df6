"""A tiny Llama as a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.families.tiny_language_models import CONTEXT, TEMPLATE, VOCAB, byte_tokenizer


def as_gguf(folder: Path, target: Path) -> Path:
    """The tiny Llama as a GGUF file with float weights."""
    import numpy as np
    import torch
    from gguf import GGUFWriter
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    writer = GGUFWriter(str(target), "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_block_count(2)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(16)
    writer.add_rope_freq_base(model.config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_vocab_size(VOCAB)
    writer.add_tokenizer_model("gpt2")
    tokenizer = byte_tokenizer()
    named = {number: token for token, number in tokenizer.get_vocab().items()}
    # A vocabulary of bytes alone has no merges, and a file without any is not read.
    named[259] = "ab"
    tokens = [named.get(number, f"<|{number}|>") for number in range(VOCAB)]
    writer.add_token_list(tokens)
    writer.add_token_types([1 if number < 256 or number == 259 else 3 for number in range(VOCAB)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(258)
    writer.add_chat_template(TEMPLATE)
    for name, weight in model.state_dict().items():
        if name != "lm_head.weight":
            writer.add_tensor(_gguf_name(name), np.ascontiguousarray(_turned(name, weight).numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _gguf_name(name: str) -> str:
    for ours, theirs in (
        ("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"),
        ("model.layers", "blk"), ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"),
        ("post_attention_layernorm", "ffn_norm"), ("input_layernorm", "attn_norm"),
    ):  # fmt: skip
        name = name.replace(ours, theirs)
    return name


def _turned(name: str, weight: Any) -> Any:
    """llama.cpp keeps the halves of each rotated head interleaved."""
    heads = 4 if "q_proj" in name else 2 if "k_proj" in name else 0
    if not heads:
        return weight
    return weight.view(heads, 2, 8, -1).transpose(1, 2).reshape(weight.shape)
