"""Configurations of tiny models, by the way in which they are decoded."""

from __future__ import annotations

from typing import Any

from tests.families.tiny_language_models import IDS, VOCAB, attentive, gpt2, mamba

LONG = 1024
WINDOW = 40
MIXED = ["sliding_attention", "full_attention"]
GEMMA = {"query_pre_attn_scalar": 16, "sliding_window": WINDOW, "layer_types": MIXED}


def long(kind: str, **changes: Any) -> Any:
    """For texts that grow beyond the smallest buffers."""
    return attentive(
        kind, **({"max_position_embeddings": LONG, "tie_word_embeddings": False} | changes)
    )


def old(kind: str, **changes: Any) -> Any:
    """A model type that has names of its own for its sizes."""
    from transformers import AutoConfig

    sizes: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    own = {"n_layer": 2, "n_head": 4, "n_embd": 64, "n_positions": LONG, "rotary_dim": 8}
    return AutoConfig.for_model(
        kind,
        **(sizes | own | {"vocab_size": VOCAB, "max_position_embeddings": LONG} | IDS | changes),
    )


LIKE_LLAMA: dict[str, Any] = {
    "llama": lambda: long("llama"),
    "llama-biased-tied": lambda: long(
        "llama", attention_bias=True, mlp_bias=True, tie_word_embeddings=True
    ),
    "llama-llama3-rope": lambda: long(
        "llama",
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128,
        },
    ),
    "qwen2": lambda: long("qwen2"),
    "qwen3": lambda: long("qwen3", head_dim=32),
    "mistral": lambda: long("mistral", sliding_window=None),
}
LIBRARY: dict[str, Any] = {
    "mistral-window": lambda: long("mistral", sliding_window=WINDOW),
    "gpt2": gpt2,
    "gemma": lambda: long("gemma"),
    "gemma3": lambda: long("gemma3_text", **GEMMA),
    "phi3": lambda: long("phi3"),
    "olmo2": lambda: long("olmo2"),
    "starcoder2": lambda: long("starcoder2", sliding_window=None),
    "starcoder2-window": lambda: long("starcoder2", sliding_window=WINDOW),
    "mixtral": lambda: long("mixtral", num_local_experts=4, num_experts_per_tok=2),
    "qwen3-moe": lambda: long(
        "qwen3_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48
    ),
    "gpt-neox": lambda: old("gpt_neox", intermediate_size=96),
    "granite": lambda: long("granite", attention_multiplier=0.2),
    "opt": lambda: old("opt", ffn_dim=96, word_embed_proj_dim=64),
    "smollm3": lambda: long("smollm3"),
}
ROW_BY_ROW: dict[str, Any] = {
    "mamba": mamba,
    "bloom": lambda: old("bloom"),
    "gemma2": lambda: long("gemma2", **GEMMA),
    "falcon": lambda: old("falcon"),
    "gpt-oss": lambda: long("gpt_oss", num_local_experts=4, sliding_window=WINDOW),
    "gptj": lambda: old("gptj"),
    "phi3-longrope": lambda: long(
        "phi3",
        original_max_position_embeddings=512,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0] * 8,
            "long_factor": [4.0] * 8,
        },
    ),
    "llama-dynamic-rope": lambda: long(
        "llama",
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
    ),
    "phimoe-window": lambda: long("phimoe", num_local_experts=4, sliding_window=WINDOW),
}
ALL = LIKE_LLAMA | LIBRARY | ROW_BY_ROW
