"""Refuse checkpoints whose configuration asks for code that is not a library's own."""

from __future__ import annotations

from typing import Any

from onebox.core.errors import ModelBroken
from onebox.core.on_disk import OnDisk

FORBIDDEN_KEYS = frozenset({"auto_map", "custom_pipelines", "custom_pipeline", "trust_remote_code"})
ATTENTION_KEYS = frozenset(
    {"_attn_implementation", "_attn_implementation_internal", "attn_implementation"}
)
# How a model of sentence-transformers was trained: a list, which no library reads.
NEVER_READ = frozenset({"data_config.json"})


def refuse_remote_code(on_disk: OnDisk) -> None:
    """Raises ModelBroken if a configuration would make a library fetch or run code."""
    for relative in on_disk.files:
        name = relative.rsplit("/", 1)[-1]
        if name in NEVER_READ:
            continue
        if name.endswith("config.json") or name == "model_index.json":
            _refuse(relative, on_disk.read_json(relative))


def _refuse(where: str, value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            _refuse(where, item)
        return
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key in FORBIDDEN_KEYS and item:
            raise ModelBroken(f"{where} asks for remote code ({key}), which is never run")
        if key in ATTENTION_KEYS and isinstance(item, str) and "/" in item:
            raise ModelBroken(
                f"{where} asks for an attention kernel from a hub ({item}), which is never fetched"
            )
        _refuse(where, item)
