"""Drawing with less memory: what a pipeline is given when it is loaded, and for one call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from onebox.core.contracts import Device
from onebox.imaging.diffusion.memory_plan import DENOISERS, MemoryPlan

# Of at most so many channels, convolutions on a CPU are faster with channels last in memory: a
# picture of onebox-shapes took 0.26 s instead of 0.31 s. With the 1,280 of Stable Diffusion 1 a
# step took 1.6 s instead of 1.1 s. Nothing is known of other devices.
NARROW = 256


def place(pipeline: Any, plan: MemoryPlan, device: Device) -> None:
    """Bring the weights to where they are to lie, in the way the plan says."""
    _arrange(pipeline, device)
    if plan.storage is not None:
        _store_denoisers(pipeline, plan.storage)
    if plan.attention_slicing:
        pipeline.enable_attention_slicing()
    vae = getattr(pipeline, "vae", None)
    for name in ("tiling", "slicing"):
        # All have the methods; those that cannot do it have no such field.
        if getattr(plan, f"vae_{name}") and hasattr(vae, f"use_{name}"):
            getattr(vae, f"enable_{name}")()
    if plan.offload == "model":
        pipeline.enable_model_cpu_offload(device=device.torch_device)
    elif plan.offload == "sequential":
        _offload_layers(pipeline, device)
    else:
        pipeline.to(device.torch_device)


def _arrange(pipeline: Any, device: Device) -> None:
    import torch

    if device.kind != "cpu":
        return
    for name in ("unet", "vae"):
        module = getattr(pipeline, name, None)
        if module is None:
            continue
        widths = module.config.get("block_out_channels") or ()
        # Decoders that are made for video too have convolutions over time, which it is not for.
        is_flat = all(p.dim() <= 4 for p in module.parameters())
        if is_flat and widths and max(widths) <= NARROW:
            module.to(memory_format=torch.channels_last)


def _offload_layers(pipeline: Any, device: Device) -> None:
    """Not by accelerate, whose hooks fail from the second call on with torch 2.13."""
    import torch

    pipeline.enable_group_offload(
        onload_device=torch.device(device.torch_device),
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
    )


def _store_denoisers(pipeline: Any, storage: str) -> None:
    import torch

    for name in DENOISERS:
        module = getattr(pipeline, name, None)
        if module is not None:
            module.enable_layerwise_casting(
                storage_dtype=getattr(torch, storage), compute_dtype=module.dtype
            )


@contextlib.contextmanager
def memory_mode(view: Any, several: bool, in_tiles: bool) -> Iterator[None]:
    """Decode the pictures of a batch one by one; what is large for the memory also in tiles."""
    vae = getattr(view, "vae", None)
    wanted = [name for name, on in (("slicing", several or in_tiles), ("tiling", in_tiles)) if on]
    # What is on already was switched on when it was loaded, or by the run that this one is nested
    # in.
    off = [name for name in wanted if not getattr(vae, f"use_{name}", False)]
    switches = [name for name in off if hasattr(vae, f"use_{name}")]
    _each(vae, "enable", switches)
    try:
        yield
    finally:
        _each(vae, "disable", switches)


def _each(vae: Any, verb: str, switches: Sequence[str]) -> None:
    for name in switches:
        switch: Callable[[], None] = getattr(vae, f"{verb}_{name}")
        switch()
