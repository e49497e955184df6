"""Loading of language models through transformers: from local files, never with code of theirs."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

from onebox.core.contracts import Device, Entry
from onebox.core.errors import ModelBroken
from onebox.core.weight_sizes import own_memory

FINGERPRINT_DIGITS = 12
MAX_NAMED = 3


def load_text_model(entry: Entry, device: Device) -> Any:
    """The model of a `…ForCausalLM` folder or GGUF file, ready to answer.

    Raises ModelBroken for what cannot be loaded as it is asked for.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

    return _load(AutoModelForCausalLM, MODEL_FOR_CAUSAL_LM_MAPPING, entry, device)


def load_vision_model(entry: Entry, device: Device) -> Any:
    """The same for a `…ForConditionalGeneration` that looks at pictures."""
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoModelForImageTextToText

    return _load(AutoModelForImageTextToText, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, entry, device)


def fingerprint(entry: Entry, device: Device) -> str:
    """Equal where equal requests get equal answers: same weights, same libraries, same precision.

    It names the device's kind, not the machine.
    """
    import torch
    import transformers

    parts = (
        entry.sha256 or entry.key,
        dtype_name(entry, device),
        entry.overrides.get("quantization"),
        device.kind,
        torch.__version__,
        transformers.__version__,
    )
    return f"fp_{hashlib.sha256(repr(parts).encode()).hexdigest()[:FINGERPRINT_DIGITS]}"


def dtype_name(entry: Entry, device: Device) -> str:
    return str(entry.overrides.get("dtype", device.dtype))


def silence() -> None:
    """No notices and no progress bars between the lines of a server's log."""
    from transformers import modeling_gguf_pytorch_utils
    from transformers.utils import logging

    # Its bar knows no other way to be told.
    gguf: Any = modeling_gguf_pytorch_utils
    gguf.tqdm = partial(gguf.tqdm, disable=True)

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _load(auto_class: Any, mapping: Any, entry: Entry, device: Device) -> Any:
    import torch

    where = _source(entry)
    config = _config(where, entry)
    if type(config) not in mapping:
        raise ModelBroken(f"transformers has no such model of type {config.model_type!r}")
    # Of several classes, as for classifying and for writing, the one that writes.
    classes = mapping[type(config)]
    model_class = classes[0] if isinstance(classes, tuple) else classes
    model, info = auto_class.from_pretrained(
        **where,
        dtype=getattr(torch, dtype_name(entry, device)),
        attn_implementation="sdpa" if model_class._supports_sdpa else "eager",
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        **_precision(entry, device),
        **({} if device.kind == "cpu" else {"device_map": {"": device.torch_device}}),
    )
    _require_complete(info["missing_keys"])
    own_memory([model])
    return model.eval().requires_grad_(False)


def _source(entry: Entry) -> dict[str, Any]:
    path = Path(entry.path)
    if entry.extension == ".gguf":
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    return {"pretrained_model_name_or_path": str(path), "use_safetensors": True}


def _config(where: dict[str, Any], entry: Entry) -> Any:
    from transformers import AutoConfig

    names = {name: value for name, value in where.items() if name != "use_safetensors"}
    try:
        return AutoConfig.from_pretrained(**names, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # Of as many kinds as there are ways to spoil such a file.
        raise ModelBroken(
            f"the configuration of {entry.name} cannot be read: {type(error).__name__}: "
            f"{str(error)[:300]}"
        ) from error


def _precision(entry: Entry, device: Device) -> dict[str, Any]:
    """What `quantization` in onebox.toml makes of the load. int8 comes after it.

    Raises ModelBroken where device or packages do not allow it.
    """
    wanted = entry.overrides.get("quantization")
    if wanted == "int8" and device.kind != "cpu":
        raise ModelBroken(
            f'quantization "int8" is for the CPU; on {device.kind} take it out of onebox.toml, '
            'or take "8bit" on CUDA'
        )
    if wanted == "fp8":
        raise ModelBroken(
            'quantization "fp8" is for picture models; take "int8" on the CPU, or "8bit" on CUDA'
        )
    if wanted in ("4bit", "8bit"):
        return {"quantization_config": _bitsandbytes(wanted, entry, device)}
    if entry.extension == ".gguf":
        from transformers import GgufConfig

        return {"quantization_config": GgufConfig(dequantize=True)}
    return {}


def _bitsandbytes(wanted: str, entry: Entry, device: Device) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    if entry.extension == ".gguf":
        raise ModelBroken(
            f'a GGUF file is quantised already; take quantization = "{wanted}" out of onebox.toml'
        )
    if device.kind != "cuda":
        raise ModelBroken(
            f'quantization "{wanted}" needs CUDA and this is {device.kind}; take it out of '
            'onebox.toml, or take "int8" on the CPU'
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelBroken(
            f'quantization "{wanted}" needs bitsandbytes; install it with pip install onebox[bnb]'
        )
    if wanted == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=getattr(torch, dtype_name(entry, device)),
    )


def _require_complete(missing: Any) -> None:
    """transformers makes up at random what a file does not have."""
    if missing:
        names = sorted(missing)
        raise ModelBroken(
            f"{len(names)} weights are missing, such as {', '.join(names[:MAX_NAMED])[:300]}; "
            "copy the whole checkpoint"
        )
