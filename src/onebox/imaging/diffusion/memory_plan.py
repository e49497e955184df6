"""How a pipeline's weights share a device's memory: asked for in `onebox.toml`, else chosen.

| mode | what it does |
|---|---|
| `vae_tiling`, `vae_slicing` | the decoder works on tiles, and on one picture at a time |
| `attention_slicing` | attention by parts; of use only where it is not fused |
| `cpu_offload` | one whole part of the pipeline at a time lies on the device |
| `sequential_offload` | one layer at a time does |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from onebox.core.contracts import DTYPE_BYTES, Device, DtypeName
from onebox.core.errors import ModelBroken
from onebox.core.on_disk import TensorInfo
from onebox.core.weight_sizes import bytes_as
from onebox.hardware.memory import HOST_POOL

Offload = Literal["model", "sequential"]

# Of a card's memory, so that there is room for pictures beside the weights.
MOST_OF_DEVICE = 0.8
# Parts that draw, and hold most of the weights; what is quantised is theirs.
DENOISERS = ("unet", "transformer", "transformer_2")
STORED_BITS = {"fp8": 8, "8bit": 8, "4bit": 4}


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What is switched on when the pipeline is loaded.

    Attributes:
        storage: dtype in which the denoiser's weights lie, if not the one it computes in.
        quantization: of bitsandbytes, made while loading.
    """

    vae_tiling: bool = False
    vae_slicing: bool = False
    attention_slicing: bool = False
    offload: Offload | None = None
    storage: str | None = None
    quantization: Literal["8bit", "4bit"] | None = None


def plan_for(overrides: Mapping[str, Any], parts: Mapping[str, int], device: Device) -> MemoryPlan:
    """What a checkpoint's `onebox.toml` asks for; offloading also when it would not fit otherwise.

    Args:
        parts: bytes of each part's weights, as they are loaded.

    Raises:
        ModelBroken: the device cannot do what is asked for.
    """
    asked = set(overrides.get("memory", ()))
    quantization = overrides.get("quantization")
    if quantization == "int8":
        raise ModelBroken(
            'quantization "int8" is for models of text; for pictures take "fp8", or "4bit" and '
            '"8bit" on CUDA'
        )
    if quantization in ("8bit", "4bit") and device.kind != "cuda":
        raise ModelBroken(
            f'quantization "{quantization}" needs CUDA and this is {device.kind}; take it out of '
            'onebox.toml, or take "fp8"'
        )
    return MemoryPlan(
        vae_tiling="vae_tiling" in asked,
        vae_slicing="vae_slicing" in asked,
        attention_slicing="attention_slicing" in asked,
        offload=_offload(asked, parts, device),
        storage="float8_e4m3fn" if quantization == "fp8" else None,
        quantization=quantization if quantization in ("8bit", "4bit") else None,
    )


def device_bytes(plan: MemoryPlan, parts: Mapping[str, int], largest_tensor: int) -> int:
    """What the weights take on the device under the plan."""
    if plan.offload == "model":
        return max(parts.values(), default=0)
    if plan.offload == "sequential":
        # The layer at work, and the next one's copy.
        return 2 * largest_tensor
    return sum(parts.values())


def weights_bytes(
    parts: Mapping[str, Sequence[TensorInfo]], overrides: Mapping[str, Any], device: Device
) -> int:
    """What the weights will take on the device, by their headers.

    Args:
        parts: the tensors of each part, by its name in the pipeline.

    Raises:
        ModelBroken: the device cannot do what `overrides` ask for.
    """
    sizes = {name: _part_bytes(name, tensors, overrides, device) for name, tensors in parts.items()}
    tensors = [tensor for part in parts.values() for tensor in part]
    largest = max((bytes_as([tensor], device.dtype) for tensor in tensors), default=0)
    return device_bytes(plan_for(overrides, sizes, device), sizes, largest)


def _part_bytes(
    name: str, tensors: Sequence[TensorInfo], overrides: Mapping[str, Any], device: Device
) -> int:
    usual = device.vae_dtype if name == "vae" else device.dtype
    dtype: DtypeName = overrides.get("dtype", usual)
    size_bytes = bytes_as(tensors, dtype)
    bits = STORED_BITS.get(overrides.get("quantization", ""))
    if bits is None or name not in DENOISERS:
        return size_bytes
    return size_bytes * bits // (8 * DTYPE_BYTES[dtype])


def _offload(asked: set[str], parts: Mapping[str, int], device: Device) -> Offload | None:
    if device.pool == HOST_POOL:
        # The weights lie in that memory in any case.
        return None
    room = MOST_OF_DEVICE * device.total_bytes
    if "sequential_offload" in asked or max(parts.values(), default=0) > room:
        return "sequential"
    return "model" if "cpu_offload" in asked or sum(parts.values()) > room else None
