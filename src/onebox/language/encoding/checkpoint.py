"""What a folder with an encoder of texts says: the files of sentence-transformers beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from onebox.core.errors import ModelBroken
from onebox.core.on_disk import OnDisk
from onebox.language.checkpoints.checkpoint_files import (
    CONFIG,
    TOKENIZERS,
    optional_json,
    require_loadable,
)

MODULES = "modules.json"
SENTENCE_CONFIG = "sentence_bert_config.json"
PROMPTS_CONFIG = "config_sentence_transformers.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
ENCODER_TOKENIZERS = (*TOKENIZERS, ("vocab.txt",), ("sentencepiece.bpe.model",), ("spiece.model",))
MAX_MODULES_BYTES = 64 * 1024
MAX_MODULES = 16
MAX_TOKENS = 1_000_000
# Of a model that counts no positions and does not tell.
UNKNOWN_TOKENS = 512

POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
# How older folders tell them, in the order in which several are joined.
OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS = frozenset({"Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid"})
# Their positions begin behind the number of the padding token.
_LATE_POSITIONS = frozenset(
    {
        "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer",
        "data2vec-text", "roberta-prelayernorm",
    }
)  # fmt: skip
# Models that read and write, of which only the half that reads is taken.
_TEXT_TO_TEXT = frozenset({"t5", "mt5", "umt5"})
_WIDTHS = ("hidden_size", "d_model", "dim", "n_embd")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")


def read_modules(on_disk: OnDisk) -> list[tuple[str, str]]:
    """The modules of a sentence-transformers folder in their order: (class, folder).

    Raises ModelBroken for one that is not known.
    """
    path = on_disk.path / MODULES
    with path.open("rb") as file:
        raw = file.read(MAX_MODULES_BYTES + 1)
    try:
        listed = json.loads(raw) if len(raw) <= MAX_MODULES_BYTES else None
    except ValueError:
        listed = None
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_MODULES:
        raise ModelBroken(f"{MODULES} is not a short list of modules; copy it again")
    return [_module(item) for item in listed]


def _module(item: Any) -> tuple[str, str]:
    kind = item.get("type") if isinstance(item, dict) else None
    folder = item.get("path") if isinstance(item, dict) else None
    if not isinstance(kind, str) or not isinstance(folder, str):
        raise ModelBroken(f"{MODULES} has a module without type or path; copy it again")
    name = kind.rpartition(".")[2]
    if not kind.startswith("sentence_transformers.") or name not in MODULE_READERS:
        raise ModelBroken(
            f"{MODULES} names the module {kind[:100]}, which is not loaded, only "
            f"{', '.join(MODULE_READERS)} of sentence-transformers"
        )
    return name, folder


def encoder_facts(on_disk: OnDisk) -> dict[str, Any]:
    """What tasks and loading need to know of an encoder's folder.

    Without files of sentence-transformers the mean of the tokens is taken, as they do.
    """
    config = on_disk.read_json(CONFIG)
    width = number(config, _WIDTHS, CONFIG)
    if width is None:
        raise ModelBroken(f"{CONFIG} does not tell {_WIDTHS[0]}")
    steps: list[dict[str, Any]]
    if MODULES in on_disk.files:
        steps = _steps(on_disk, read_modules(on_disk), width)
    else:
        steps = [{"step": "pool", "modes": ["mean"]}]
    pool = steps[0]
    told = optional_json(on_disk, PROMPTS_CONFIG)
    prompts = _prompts(told)
    return {
        "max_tokens": max_tokens(on_disk, config),
        "dimensions": _dimensions(steps, width),
        "pooling": "+".join(pool["modes"]),
        "normalized": any(step["step"] == "normalize" for step in steps),
        "prompts": prompts,
        "default_prompt": _default_prompt(told, prompts),
        "include_prompt": bool(pool.get("include_prompt", True)),
        "lower": lower_case(on_disk),
        "vocab": number(config, ("vocab_size",), CONFIG) or MAX_TOKENS,
        "width": width,
        "steps": steps,
        "encoder_half": config.get("model_type") in _TEXT_TO_TEXT,
    }


def max_tokens(on_disk: OnDisk, config: Mapping[str, Any]) -> int:
    """The most tokens of one text, with the marks around it."""
    told = number(optional_json(on_disk, SENTENCE_CONFIG), ("max_seq_length",), SENTENCE_CONFIG)
    if told is None:
        length = optional_json(on_disk, TOKENIZER_CONFIG).get("model_max_length")
        # Tokenizers without a length carry an enormous number.
        told = length if isinstance(length, int) and 0 < length <= MAX_TOKENS else None
    positions = number(config, _POSITIONS, CONFIG)
    if positions is not None and config.get("model_type") in _LATE_POSITIONS:
        padding = config.get("pad_token_id")
        positions -= 1 + (padding if isinstance(padding, int) else 1)
    known = [value for value in (told, positions) if value is not None]
    return max(1, min(known, default=UNKNOWN_TOKENS))


def lower_case(on_disk: OnDisk) -> bool:
    """Whether texts are put in lower case before their tokens are made."""
    return optional_json(on_disk, SENTENCE_CONFIG).get("do_lower_case") is True


def require_encoder(on_disk: OnDisk) -> None:
    """Raises ModelBroken unless weights and tokenizer are there and need nothing else."""
    require_loadable(on_disk, ENCODER_TOKENIZERS)


def number(config: Mapping[str, Any], names: Sequence[str], where: str) -> int | None:
    """The first that is told. Raises ModelBroken for one that cannot be."""
    for name in names:
        value = config.get(name)
        if value is None:
            continue
        if type(value) is not int or not 0 < value <= 100_000_000:
            raise ModelBroken(f"{where}: {name} is {str(value)[:40]}")
        return value
    return None


def activation(name: Any, where: str) -> str:
    """The class of torch that a configuration names. Raises ModelBroken for another one."""
    text = name if isinstance(name, str) else ""
    found = text.rpartition(".")[2]
    if not text.startswith("torch.nn.") or found not in ACTIVATIONS:
        raise ModelBroken(
            f"{where} names the activation {str(name)[:100]}, which is not known; known are "
            f"{', '.join(sorted(ACTIVATIONS))} of torch.nn"
        )
    return found


def _steps(on_disk: OnDisk, modules: Sequence[tuple[str, str]], width: int) -> list[dict[str, Any]]:
    """What is done with the tokens' vectors; the first step pools them."""
    if modules[0] != ("Transformer", ""):
        raise ModelBroken(f"{MODULES} must begin with the Transformer of the folder itself")
    steps = [MODULE_READERS[kind](on_disk, folder) for kind, folder in modules[1:]]
    if [step["step"] for step in steps].count("pool") != 1 or steps[0]["step"] != "pool":
        raise ModelBroken(f"{MODULES} must name one Pooling, right after the Transformer")
    expected = width * len(steps[0]["modes"])
    for step in steps[1:]:
        if step.get("from", expected) != expected:
            raise ModelBroken(f"{step['folder']} takes {step['from']} values, but gets {expected}")
        expected = step.get("to", expected)
    return steps


def _dimensions(steps: Sequence[Mapping[str, Any]], width: int) -> int:
    given = [step["to"] for step in steps if "to" in step]
    return int(given[-1]) if given else width * len(steps[0]["modes"])


def _another(on_disk: OnDisk, folder: str) -> dict[str, Any]:
    raise ModelBroken(f"{MODULES} names a second Transformer, {folder[:100]!r}")


def _pooling(on_disk: OnDisk, folder: str) -> dict[str, Any]:
    where = f"{folder}/{CONFIG}"
    config = on_disk.read_json(where)
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in OLD_POOLINGS.items() if config.get(key)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list) or not modes or any(mode not in POOLINGS for mode in modes):
        raise ModelBroken(f"{where}: the pooling {str(modes)[:100]} is not known")
    return {"step": "pool", "modes": modes, "include_prompt": config.get("include_prompt", True)}


def _normalize(on_disk: OnDisk, folder: str) -> dict[str, Any]:
    return {"step": "normalize"}


def _dense(on_disk: OnDisk, folder: str) -> dict[str, Any]:
    where = f"{folder}/{CONFIG}"
    config = on_disk.read_json(where)
    if config.get("use_residual") or config.get("module_input_name") == "token_embeddings":
        raise ModelBroken(f"{where}: only a plain dense layer of one vector is loaded")
    sizes = [number(config, (name,), where) for name in ("in_features", "out_features")]
    if None in sizes:
        raise ModelBroken(f"{where} does not tell in_features and out_features")
    return {
        "step": "dense",
        "folder": folder,
        "from": sizes[0],
        "to": sizes[1],
        "activation": activation(config.get("activation_function", "torch.nn.Tanh"), where),
        "file": _weights(on_disk, folder),
    }


def _layer_norm(on_disk: OnDisk, folder: str) -> dict[str, Any]:
    where = f"{folder}/{CONFIG}"
    dimension = number(on_disk.read_json(where), ("dimension",), where)
    if dimension is None:
        raise ModelBroken(f"{where} does not tell dimension")
    return {
        "step": "layer_norm",
        "folder": folder,
        "from": dimension,
        "to": dimension,
        "file": _weights(on_disk, folder),
    }


def _weights(on_disk: OnDisk, folder: str) -> str:
    file = f"{folder}/model.safetensors"
    if file in on_disk.files:
        on_disk.tensors(file)
        return file
    pickle = f"{folder}/pytorch_model.bin"
    if pickle in on_disk.files:
        raise ModelBroken(f"{pickle} is a pickle; convert it to safetensors first")
    raise ModelBroken(f"{file} is missing; copy the whole checkpoint")


MODULE_READERS = {
    "Transformer": _another,
    "Pooling": _pooling,
    "Normalize": _normalize,
    "Dense": _dense,
    "LayerNorm": _layer_norm,
}


def _prompts(told: Mapping[str, Any]) -> dict[str, str]:
    """By name. sentence-transformers knows two names in any case."""
    found = told.get("prompts") or {}
    if not isinstance(found, dict):
        raise ModelBroken(f"{PROMPTS_CONFIG}: prompts is not a table of texts")
    own = {str(name): text for name, text in found.items() if isinstance(text, str)}
    return {"query": "", "document": "", **own}


def _default_prompt(told: Mapping[str, Any], prompts: Mapping[str, str]) -> str | None:
    name = told.get("default_prompt_name")
    if name is None:
        return None
    if name not in prompts:
        raise ModelBroken(f"{PROMPTS_CONFIG}: the default prompt {str(name)[:40]!r} is not there")
    return str(name)
