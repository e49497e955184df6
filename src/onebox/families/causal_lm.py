"""Family `causal_lm`: models that continue text, as transformers folders and as GGUF files."""

from __future__ import annotations

import math
from typing import Any

from onebox.core.contracts import DTYPE_BYTES, Bundle, Device, Entry, Family
from onebox.core.errors import ModelBroken
from onebox.core.on_disk import GgufHeader, Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.core.remote_code import refuse_remote_code
from onebox.core.weight_sizes import bytes_as
from onebox.language.checkpoints.checkpoint_files import (
    CONFIG,
    class_name,
    has_chat_template,
    optional_json,
    require_loadable,
    weight_tensors,
)
from onebox.language.checkpoints.model_facts import config_facts, generation_defaults, gguf_facts

CLASS_ENDINGS = ("ForCausalLM", "LMHeadModel")
# With this file of sentence-transformers it is an encoder of texts, whatever it was made from.
ENCODER_MODULES = "modules.json"
# Values of general.architecture that transformers 5.23 makes a text model of.
GGUF_ARCHITECTURES = frozenset(
    {
        "llama", "mistral", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "gpt-oss", "lfm2", "falcon",
        "phi3", "bloom", "stablelm", "gpt2", "starcoder2", "mamba", "nemotron", "gemma2", "gemma3",
        "gemma4", "deci", "minimax-m2",
    }
)  # fmt: skip
# Tensor types of GGUF that the gguf package can turn into floats.
GGUF_TYPES = frozenset(
    {
        "F32", "F16", "BF16", "F64", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K",
        "Q4_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4", "IQ2_XXS", "IQ2_XS", "IQ2_S",
        "IQ3_XXS", "IQ3_S", "IQ1_S", "IQ1_M", "IQ4_NL", "IQ4_XS",
    }
)  # fmt: skip
TOKENS = "tokenizer.ggml.tokens"
TASKS = frozenset({"chat", "completion", "tokenize", "detokenize"})


class LanguageBundle:
    """One loaded model that writes text; its decoder owns the weights."""

    def __init__(self, decoder: Any, tokenizer: Any, fingerprint: str) -> None:
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint
        self.size_bytes: int = decoder.size_bytes

    def close(self) -> None:
        self.decoder.close()
        self.decoder = self.tokenizer = None


class CausalLM(Family):
    name = "causal_lm"
    engine = "decode"
    tasks = TASKS

    def matches(self, on_disk: OnDisk) -> Match | None:
        if not on_disk.is_folder:
            return _match_gguf(on_disk)
        kind = class_name(on_disk)
        if kind is None or not kind.endswith(CLASS_ENDINGS) or ENCODER_MODULES in on_disk.files:
            return None
        config = on_disk.read_json(CONFIG)
        if "vision_config" in config or config.get("is_encoder_decoder") is True:
            return None
        refuse_remote_code(on_disk)
        require_loadable(on_disk)
        told = optional_json(on_disk, "generation_config.json")
        facts = config_facts(config) | {
            "chat": has_chat_template(on_disk),
            "defaults": generation_defaults(told),
        }
        return Match(kind, facts)

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        if not on_disk.is_folder:
            return _gguf_bytes(on_disk.gguf(on_disk.path.name), device)
        return folder_bytes(on_disk, device)

    def load(self, entry: Entry, device: Device) -> Bundle:
        from onebox.language.checkpoints.loading import load_text_model

        return load_bundle(load_text_model, entry, device)

    def warm_up(self) -> None:
        from onebox.language.checkpoints.loading import silence

        silence()
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
        from transformers.models.llama import modeling_llama  # noqa: F401


def load_bundle(load: Any, entry: Entry, device: Device) -> LanguageBundle:
    """`load(entry, device)` gives the model; the decoder may ask for it twice."""
    from onebox.language.checkpoints.loading import fingerprint
    from onebox.language.decoding.decoder import create_decoder
    from onebox.language.prompts.tokenizer import tokenizer_of

    # First, for it is quick and may be broken.
    tokenizer = tokenizer_of(entry)
    decoder = create_decoder(lambda: load(entry, device), entry, device)
    return LanguageBundle(decoder, tokenizer, fingerprint(entry, device))


def folder_bytes(on_disk: OnDisk, device: Device) -> int:
    """Bytes of the weights that a transformers folder's model takes."""
    tensors = weight_tensors(on_disk)
    total = bytes_as(tensors.values(), device.dtype)
    if device.kind == "cpu" and not any(name.endswith("lm_head.weight") for name in tensors):
        total += _table_bytes(tensors, ("embed_tokens.weight", "wte.weight"), device)
    return total


def _table_bytes(tensors: Any, endings: tuple[str, ...], device: Device) -> int:
    """On the CPU a table that is also the head is kept twice, the second time packed."""
    tables = [math.prod(info.shape) for name, info in tensors.items() if name.endswith(endings)]
    return max(tables, default=0) * DTYPE_BYTES[device.dtype]


def _gguf_bytes(header: GgufHeader, device: Device) -> int:
    values = sum(math.prod(tensor.shape) for tensor in header.tensors.values())
    total = values * DTYPE_BYTES[device.dtype]
    if device.kind == "cpu" and "output.weight" not in header.tensors:
        total += _table_bytes(header.tensors, ("token_embd.weight",), device)
    return total


def _match_gguf(on_disk: OnDisk) -> Match | None:
    name = on_disk.path.name
    if not name.lower().endswith(".gguf"):
        return None
    header = on_disk.gguf(name)
    architecture = header.metadata.get("general.architecture")
    if architecture not in GGUF_ARCHITECTURES:
        raise ModelBroken(
            f"GGUF files of the architecture {str(architecture)[:40]!r} are not loaded, only of "
            f"{', '.join(sorted(GGUF_ARCHITECTURES))}; take the safetensors folder of the model"
        )
    _require_whole(header)
    return Match(f"GGUF {architecture}", gguf_facts(header.metadata, header.array_lengths))


def _require_whole(header: GgufHeader) -> None:
    split = header.metadata.get("split.count", 0)
    if isinstance(split, int) and split > 1:
        raise ModelBroken(f"it is one of {split} parts; join them with llama-gguf-split --merge")
    if TOKENS not in header.array_lengths:
        raise ModelBroken("the file has no tokenizer; take the GGUF file of the whole model")
    unknown = {tensor.dtype for tensor in header.tensors.values()} - GGUF_TYPES
    if unknown:
        raise ModelBroken(
            f"tensors of the type {min(unknown)} cannot be read; take the file in another "
            "quantisation, such as Q8_0 or Q4_K_M"
        )


FAMILIES.register(CausalLM.name, CausalLM())
