"""What file names mean in a model folder. Pure rules; contents are judged elsewhere."""

from __future__ import annotations

import os

from onebox.core.on_disk import ADAPTER_CONFIG, ADAPTER_WEIGHTS

WEIGHTS = frozenset({".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf"})
PICKLES = frozenset({".ckpt", ".pt", ".pth", ".bin"})
_TOKENIZERS = frozenset(
    {".json", ".txt", ".model", ".jinja", ".tiktoken", ".spm", ".bpe", ".vocab"}
)
_PARTIAL = (
    ".part",
    ".partial",
    ".tmp",
    ".temp",
    ".crdownload",
    ".incomplete",
    ".download",
    ".aria2",
    "~",
)
_SIDECAR = ".aria2"
_DOCUMENTS = (
    "readme",
    "license",
    "licence",
    "notice",
    "copying",
    "changelog",
    "requirements",
    "onebox",
)

PIPELINE_INDEX = "model_index.json"
CONFIG = "config.json"
SETTINGS = "onebox.toml"


def extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def is_weights(name: str) -> bool:
    return extension(name) in WEIGHTS


def is_read_when_loading(name: str) -> bool:
    """Weights, arrays, JSON, tokenizer, templates; not README, pictures, licence, `onebox.toml`."""
    kind = extension(name)
    if kind in WEIGHTS or kind in (".json", ".npy"):
        return True
    return kind in _TOKENIZERS and not name.lower().startswith(_DOCUMENTS)


def is_ignored(name: str) -> bool:
    """Hidden, a partial download, or a name that no JSON answer could carry."""
    if name.startswith(".") or name == "__pycache__" or name.lower().endswith(_PARTIAL):
        return True
    return not name.isascii() and not _is_text(name)


def visible(names: set[str]) -> set[str]:
    """The names in a folder that count; one that a downloader keeps notes about is unfinished."""
    return {name for name in names if not is_ignored(name) and name + _SIDECAR not in names}


def is_checkpoint_folder(file_names: set[str]) -> bool:
    if PIPELINE_INDEX in file_names:
        return True
    weights = {name for name in file_names if is_weights(name)}
    # A folder of other weights too is one that things were only put into.
    is_adapter = ADAPTER_CONFIG in file_names and weights == {ADAPTER_WEIGHTS}
    return is_adapter or (CONFIG in file_names and bool(weights))


def settings_name(file_name: str) -> str:
    """Settings of `sd-turbo.safetensors` lie beside it in `sd-turbo.onebox.toml`."""
    return f"{os.path.splitext(file_name)[0]}.{SETTINGS}"


def _is_text(name: str) -> bool:
    """False for bytes that are not UTF-8, which Python carries as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
