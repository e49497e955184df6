"""`onebox.toml` of a checkpoint: what its owner says about it.

In a checkpoint folder it is `onebox.toml`; for a single file `sd-turbo.safetensors` it is
`sd-turbo.onebox.toml` beside it. It may come with a downloaded folder, so it is judged like any
input.
"""

from __future__ import annotations

import tomllib
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal

import msgspec
import structlog

from onebox.core.contracts import DtypeName
from onebox.core.errors import ModelBroken

_log = structlog.get_logger(__name__)

MAX_BYTES = 64 * 1024

# "int8": linear layers of models of text, on the CPU. "fp8": denoisers of picture models.
# "8bit", "4bit": bitsandbytes, on CUDA.
Quantization = Literal["int8", "fp8", "8bit", "4bit"]
# How weights of picture models share a device's memory: `imaging/diffusion/memory_plan.py`.
MemoryMode = Literal[
    "vae_tiling", "vae_slicing", "attention_slicing", "cpu_offload", "sequential_offload"
]


class OwnLora(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A LoRA that every request has which names none; `path` in the model folders."""

    path: str
    scale: Annotated[float, msgspec.Meta(ge=-4, le=4)] = 1.0


class ModelSettings(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=False):
    """The known keys; those left out do not appear in `Entry.overrides`."""

    aliases: list[str] = []
    defaults: dict[str, Any] = {}
    dtype: DtypeName | None = None
    quantization: Quantization | None = None
    memory: list[MemoryMode] = []
    compile: bool = False
    pin: bool = False
    idle_timeout: float | None = None
    licence: str | None = None
    licence_note: str | None = None
    loras: Annotated[list[str | OwnLora], msgspec.Meta(max_length=8)] = []
    components: dict[str, str] = {}
    fallback: Annotated[str, msgspec.Meta(min_length=1, max_length=512)] | None = None


def parse_model_toml(raw: bytes) -> dict[str, Any]:
    """The text of an `onebox.toml` → overrides. Raises ModelBroken with the reason."""
    if len(raw) > MAX_BYTES:
        raise ModelBroken(f"onebox.toml is larger than {MAX_BYTES} bytes")
    try:
        values = tomllib.loads(raw.decode())
        settings = msgspec.convert(values, ModelSettings)
    except RecursionError:
        raise ModelBroken("onebox.toml is nested too deeply") from None
    except (ValueError, msgspec.ValidationError) as error:
        raise ModelBroken(f"onebox.toml: {str(error)[:200]}") from None
    unknown = sorted(values.keys() - set(ModelSettings.__struct_fields__))
    if unknown:
        _log.warning(
            "unknown keys in onebox.toml", keys=unknown[:10], known=ModelSettings.__struct_fields__
        )
    if settings.idle_timeout is not None and not settings.idle_timeout >= 0:
        raise ModelBroken(
            f"onebox.toml: idle_timeout is {settings.idle_timeout}; it must not be negative"
        )
    _check_places(msgspec.to_builtins([settings.loras, settings.components]))
    overrides: dict[str, Any] = msgspec.to_builtins(settings)
    return overrides


def _check_places(value: Any) -> None:
    """No text under `loras` or `components` may point out of the model folders."""
    if isinstance(value, str):
        parts = PurePosixPath(value.replace("\\", "/")).parts
        if ".." in parts or value.startswith(("/", "\\", "~")) or PureWindowsPath(value).drive:
            raise ModelBroken(
                f"onebox.toml: {value[:100]!r} leaves the model folder; give a relative path"
            )
    elif isinstance(value, dict):
        _check_places(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            _check_places(item)
