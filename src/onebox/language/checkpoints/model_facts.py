"""What a language model's configuration says of it: the facts that tasks and the engine go by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from onebox.core.errors import ModelBroken
from onebox.language.sampling import DEFAULTS, SamplingFields

# What a model without positions gets, and one whose configuration does not tell.
UNBOUNDED_CONTEXT = 32_768
UNKNOWN_CONTEXT = 4096
MAX_VALUE = 100_000_000

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "n_kv_heads")
_WIDTHS = ("hidden_size", "n_embd", "d_model", "hidden_dim")
_POSITIONS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length",
    "n_ctx",
)  # fmt: skip
_WITHOUT_ATTENTION = frozenset({"mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm"})
# Published configurations of these leave some values to the defaults of their classes.
CLASS_DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "llama": {
        "num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096,
        "vocab_size": 32000, "max_position_embeddings": 2048,
    },
    "mistral": {
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "hidden_size": 4096, "vocab_size": 32000, "max_position_embeddings": 131072,
    },
    "gemma3_text": {
        "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 256, "hidden_size": 2304, "vocab_size": 262208,
        "max_position_embeddings": 131072,
    },
}  # fmt: skip


def config_facts(config: Mapping[str, Any], *, vision: bool = False) -> dict[str, Any]:
    """Facts from a `config.json`; a text model inside another is looked for there.

    Raises ModelBroken for values that cannot be.
    """
    inner = config.get("text_config")
    own = {**config, **inner} if isinstance(inner, dict) else dict(config)
    # A text, whatever the file says: it is looked up in tables.
    kind = str(own.get("model_type"))
    text = {**CLASS_DEFAULTS.get(kind, {}), **_told(own), "model_type": kind}
    kv_heads, head_dim = _attention(text)
    return {
        "context_length": _context_length(text),
        "layers": _required(text, _LAYERS),
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "vocab": _required(text, ("vocab_size",)),
        "vision": vision,
    }


def generation_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling values of a `generation_config.json`; those that no request may have are ignored."""
    found: dict[str, Any] = {}
    for name in DEFAULTS:
        if config.get(name) is None:
            continue
        try:
            found[name] = getattr(SamplingFields.model_validate({name: config[name]}), name)
        except ValidationError:
            continue
    return found


def gguf_facts(metadata: Mapping[str, Any], array_lengths: Mapping[str, int]) -> dict[str, Any]:
    """The same from the keys of a GGUF file."""
    prefix = str(metadata.get("general.architecture"))
    own = {
        key.removeprefix(f"{prefix}."): value
        for key, value in metadata.items()
        if key.startswith(f"{prefix}.")
    }
    heads = _largest(own.get("attention.head_count"))
    text = {
        "model_type": prefix,
        "num_hidden_layers": own.get("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": _largest(own.get("attention.head_count_kv")),
        "hidden_size": own.get("embedding_length"),
        "head_dim": own.get("attention.key_length"),
        "vocab_size": own.get("vocab_size", array_lengths.get("tokenizer.ggml.tokens")),
        "max_position_embeddings": own.get("context_length"),
    }
    facts = config_facts(_told(text))
    return facts | {"chat": bool(metadata.get("tokenizer.chat_template")), "defaults": {}}


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _largest(value: Any) -> Any:
    return max(value) if isinstance(value, tuple) and value else value


def _value(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """The first that is told. Raises ModelBroken unless it is a number of things."""
    for name in names:
        value = config.get(name)
        if value is None:
            continue
        if type(value) is not int or not 0 < value <= MAX_VALUE:
            raise ModelBroken(f"the configuration's {name} is {str(value)[:40]}")
        return value
    return None


def _required(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    value = _value(config, names)
    if value is None:
        raise ModelBroken(f"the configuration does not tell {names[0]}")
    return value


def _attention(config: Mapping[str, Any]) -> tuple[int, int]:
    """(key-value heads, size of one) that a layer keeps of every token."""
    if config.get("model_type") in _WITHOUT_ATTENTION:
        return 0, 0
    heads = _required(config, _HEADS)
    kv_heads = _value(config, _KV_HEADS) or (1 if config.get("multi_query") is True else heads)
    # Latent attention keeps keys of two parts, and values of another size.
    parts = [_value(config, (name,)) or 0 for name in ("qk_nope_head_dim", "qk_rope_head_dim")]
    head_dim = sum(parts) if all(parts) else _value(config, ("head_dim",))
    return kv_heads, head_dim or _required(config, _WIDTHS) // heads


def _context_length(config: Mapping[str, Any]) -> int:
    if config.get("model_type") in _WITHOUT_ATTENTION:
        return UNBOUNDED_CONTEXT
    length = _value(config, _POSITIONS) or UNKNOWN_CONTEXT
    rope = config.get("rope_scaling") or config.get("rope_parameters")
    if not isinstance(rope, dict) or rope.get("rope_type", rope.get("type")) != "yarn":
        return length
    original, factor = rope.get("original_max_position_embeddings"), rope.get("factor")
    if type(original) is not int or not isinstance(factor, int | float):
        return length
    # Also false for NaN. The configuration's own length may already be the stretched one.
    stretched = original * factor
    return max(length, int(stretched)) if 0 < stretched <= MAX_VALUE else length
