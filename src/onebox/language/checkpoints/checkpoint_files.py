"""Which files of a transformers folder are loaded, and what is wrong with a folder without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onebox.core.errors import ModelBroken
from onebox.core.on_disk import OnDisk, TensorInfo

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
# That of 260,000 tokens takes 33 MB; reading one takes many times its size in memory.
MAX_TOKENIZER_BYTES = 256 * 1024 * 1024
TEMPLATES = ("chat_template.jinja", "chat_template.json")


def class_name(on_disk: OnDisk) -> str | None:
    """The model class that a transformers folder is saved from; None for anything else."""
    if not on_disk.is_folder or CONFIG not in on_disk.files:
        return None
    config = on_disk.read_json(CONFIG)
    classes = config.get("architectures")
    if not isinstance(classes, list) or not classes or not isinstance(classes[0], str):
        return None
    return classes[0] if isinstance(config.get("model_type"), str) else None


def weight_files(on_disk: OnDisk) -> list[str]:
    """The weight files that transformers would load. Raises ModelBroken when there are none."""
    if WEIGHTS in on_disk.files:
        return [WEIGHTS]
    if INDEX in on_disk.files:
        return _shards(on_disk)
    names = sorted(on_disk.files)
    pickled = next((name for name in names if name.endswith(PICKLES)), None)
    if pickled is not None:
        raise ModelBroken(f"{pickled} is a pickle; convert it to safetensors first")
    if any(name.endswith(".gguf") for name in names):
        raise ModelBroken(
            "the folder has a config.json beside a GGUF file; move the .gguf file out of it, "
            "it is a model by itself"
        )
    raise ModelBroken(f"{WEIGHTS} is missing; copy the whole checkpoint")


def weight_tensors(on_disk: OnDisk) -> dict[str, TensorInfo]:
    """The tensors of all these files by their names."""
    tensors: dict[str, TensorInfo] = {}
    for file in weight_files(on_disk):
        tensors |= on_disk.tensors(file)
    return tensors


def require_loadable(on_disk: OnDisk, tokenizers: Sequence[tuple[str, ...]] = TOKENIZERS) -> None:
    """Raises ModelBroken unless weights and tokenizer are there and need nothing else.

    `tokenizers`: sets of files, each of which makes one.
    """
    for name in weight_files(on_disk):
        on_disk.tensors(name)
    if not any(all(name in on_disk.files for name in names) for names in tokenizers):
        raise ModelBroken("tokenizer.json is missing; copy the whole checkpoint")
    for name in {name for names in tokenizers for name in names} & on_disk.files.keys():
        if on_disk.files[name] > MAX_TOKENIZER_BYTES:
            raise ModelBroken(f"{name} is larger than {MAX_TOKENIZER_BYTES} bytes; it is not read")
    quantization = on_disk.read_json(CONFIG).get("quantization_config")
    if quantization:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        raise ModelBroken(
            f"the weights are stored quantised ({str(method)[:40]}), which is not loaded; take the "
            "original weights and set quantization in onebox.toml, or take a GGUF file"
        )


def has_chat_template(on_disk: OnDisk) -> bool:
    if any(name in on_disk.files for name in TEMPLATES):
        return True
    return bool(optional_json(on_disk, "tokenizer_config.json").get("chat_template"))


def optional_json(on_disk: OnDisk, name: str) -> Mapping[str, Any]:
    return on_disk.read_json(name) if name in on_disk.files else {}


def _shards(on_disk: OnDisk) -> list[str]:
    weight_map = on_disk.read_json(INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelBroken(f"{INDEX} has no weight_map; copy it again")
    shards = sorted({str(shard) for shard in weight_map.values()})
    for shard in shards:
        if not shard.endswith(".safetensors") or shard not in on_disk.files:
            raise ModelBroken(f"{INDEX} names {shard[:200]}, which is missing; finish the download")
    return shards
