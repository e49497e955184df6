from __future__ import annotations

import contextlib
from typing import Any

import pytest

from onebox.core.errors import ModelBroken
from onebox.language.checkpoints.model_facts import (
    UNBOUNDED_CONTEXT,
    UNKNOWN_CONTEXT,
    config_facts,
    generation_defaults,
    gguf_facts,
)

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "hidden_size": 2048,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
}


def test_sizes_come_from_the_configuration() -> None:
    assert config_facts(LLAMA) == {
        "context_length": 2048,
        "layers": 22,
        "kv_heads": 4,
        "head_dim": 64,
        "vocab": 32000,
        "vision": False,
    }


@pytest.mark.parametrize(
    ("changes", "kv_heads", "head_dim"),
    [
        ({"head_dim": 128}, 4, 128),
        ({"num_key_value_heads": None}, 32, 64),
        ({"num_key_value_heads": None, "multi_query": True}, 1, 64),
        ({"num_key_value_heads": None, "num_kv_heads": 8}, 8, 64),
        ({"num_key_value_heads": 32, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64}, 32, 192),
    ],
)
def test_what_a_layer_keeps_of_a_token(changes: Any, kv_heads: int, head_dim: int) -> None:
    facts = config_facts(LLAMA | changes)
    assert (facts["kv_heads"], facts["head_dim"]) == (kv_heads, head_dim)


def test_a_model_without_attention_keeps_nothing_and_has_no_end() -> None:
    facts = config_facts({"model_type": "mamba", "num_hidden_layers": 24, "vocab_size": 50280})
    assert (facts["kv_heads"], facts["head_dim"]) == (0, 0)
    assert facts["context_length"] == UNBOUNDED_CONTEXT


def test_older_names_are_known() -> None:
    config = {"model_type": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768}
    facts = config_facts(config | {"vocab_size": 50257, "n_positions": 1024})
    assert (facts["layers"], facts["head_dim"], facts["context_length"]) == (12, 64, 1024)


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}, 8192),
        ({"rope_type": "yarn", "factor": 0.5, "original_max_position_embeddings": 2048}, 2048),
        ({"rope_type": "yarn", "factor": 4.0}, 2048),
        (
            {"rope_type": "yarn", "factor": float("nan"), "original_max_position_embeddings": 1},
            2048,
        ),
        (
            {"rope_type": "yarn", "factor": float("inf"), "original_max_position_embeddings": 1},
            2048,
        ),
        ({"rope_type": "linear", "factor": 4.0}, 2048),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}, 2048),
        ("nonsense", 2048),
    ],
)
def test_only_yarn_stretches_the_context(rope: Any, length: int) -> None:
    assert config_facts(LLAMA | {"rope_scaling": rope})["context_length"] == length


def test_an_unknown_context_is_a_small_one() -> None:
    config = LLAMA | {"model_type": "new", "max_position_embeddings": None}
    assert config_facts(config)["context_length"] == UNKNOWN_CONTEXT


def test_a_text_model_inside_another_is_found() -> None:
    outer = {"model_type": "llava", "vocab_size": 5, "text_config": LLAMA}
    assert config_facts(outer, vision=True) == config_facts(LLAMA) | {"vision": True}


def test_values_that_are_left_to_the_class_are_known() -> None:
    inner = {"model_type": "gemma3_text", "num_hidden_layers": 34, "hidden_size": 2560}
    facts = config_facts({"model_type": "gemma3", "text_config": inner})
    assert (facts["layers"], facts["kv_heads"], facts["head_dim"]) == (34, 4, 256)
    assert facts["context_length"] == 131072


@pytest.mark.parametrize("value", [0, -1, "32", 1.5, True, 10**12, [4], {}])
@pytest.mark.parametrize(
    "name", ["num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings"]
)
def test_impossible_sizes_are_broken(name: str, value: Any) -> None:
    with pytest.raises(ModelBroken, match=name):
        config_facts(LLAMA | {name: value})


def test_a_size_that_nobody_tells_is_broken() -> None:
    with pytest.raises(ModelBroken, match="does not tell num_hidden_layers"):
        config_facts({"model_type": "new", "num_attention_heads": 2, "hidden_size": 8})


def test_defaults_are_those_that_a_request_could_have() -> None:
    told = {"temperature": 0.6, "top_p": 0.9, "top_k": 50, "do_sample": True, "eos_token_id": 2}
    assert generation_defaults(told) == {"temperature": 0.6, "top_p": 0.9, "top_k": 50}


@pytest.mark.parametrize(
    "told",
    [
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": -1},
        {"temperature": 7},
        {"top_p": 2},
        {"top_k": -1},
        {"top_k": 1.5},
        {"min_p": "much"},
        {"repetition_penalty": 0},
        {"repetition_penalty": [1]},
        {"temperature": None},
    ],
)
def test_other_defaults_are_ignored(told: dict[str, Any]) -> None:
    assert generation_defaults(told) == {}


GGUF: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.block_count": 30,
    "llama.context_length": 8192,
    "llama.embedding_length": 576,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
    "tokenizer.chat_template": "{{ messages }}",
}


def test_a_gguf_file_tells_the_same_by_other_names() -> None:
    assert gguf_facts(GGUF, {"tokenizer.ggml.tokens": 49152}) == {
        "context_length": 8192,
        "layers": 30,
        "kv_heads": 3,
        "head_dim": 64,
        "vocab": 49152,
        "vision": False,
        "chat": True,
        "defaults": {},
    }


def test_heads_that_differ_by_layer_count_as_the_most() -> None:
    metadata = GGUF | {"llama.attention.head_count_kv": (0, 8, 0), "tokenizer.chat_template": ""}
    facts = gguf_facts(metadata, {"tokenizer.ggml.tokens": 3})
    assert (facts["kv_heads"], facts["chat"]) == (8, False)


STRANGE: list[Any] = [0, -1, 2**63, 10**30, 1.5, float("nan"), float("inf"), "x", [], {}, [1], True]
STRETCHED = [
    {"rope_type": "yarn", "factor": x, "original_max_position_embeddings": 10**30} for x in STRANGE
]


@pytest.mark.parametrize("name", [*LLAMA, "text_config", "rope_scaling", "qk_rope_head_dim"])
def test_whatever_a_file_holds_it_gives_facts_or_is_broken(name: str) -> None:
    for value in (*STRANGE, *STRETCHED):
        for config in ({**LLAMA, name: value}, {**LLAMA, "text_config": {name: value}}):
            with contextlib.suppress(ModelBroken):
                assert config_facts(config)["context_length"] > 0
