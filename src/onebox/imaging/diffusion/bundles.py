"""`PipelineBundle`: a loaded diffusers pipeline, and what makes it ready to draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onebox.core.cancel import check_now
from onebox.core.contracts import Device, Entry
from onebox.core.weight_sizes import own_memory, resident_bytes
from onebox.imaging.diffusion.compiling import BLOCKS, compile_blocks
from onebox.imaging.diffusion.memory_modes import place
from onebox.imaging.diffusion.memory_plan import device_bytes, plan_for


class PipelineBundle:
    """One loaded diffusers pipeline. Tasks make views of `pipeline` that share its weights.

    `kept` holds what was found out about these weights, and goes with them.
    """

    def __init__(
        self, pipeline: Any, size_bytes: int, kept: Mapping[str, Any] | None = None
    ) -> None:
        self.pipeline = pipeline
        self.size_bytes = size_bytes
        self.kept: dict[str, Any] = dict(kept or {})

    def close(self) -> None:
        self.kept.clear()
        self.pipeline.remove_all_hooks()
        self.pipeline = None


def ready(pipeline: Any, entry: Entry, device: Device) -> PipelineBundle:
    """A loaded pipeline made ready to draw on the device, and to be stopped meanwhile."""
    modules = {n: c for n, c in pipeline.components.items() if hasattr(c, "parameters")}
    parts = {name: resident_bytes([module]) for name, module in modules.items()}
    largest = max((p.nbytes for m in modules.values() for p in m.parameters()), default=0)
    plan = plan_for(entry.overrides, parts, device)
    pipeline.set_progress_bar_config(disable=True)
    _let_dtypes_differ(pipeline)
    _make_interruptible(pipeline)
    if device.kind == "cpu" or plan.offload is not None:
        own_memory(modules.values())
    compiled = entry.overrides.get("compile", False)
    kept = {BLOCKS: compile_blocks(pipeline, plan, device)} if compiled else None
    place(pipeline, plan, device)
    if plan.offload is not None:
        return PipelineBundle(pipeline, device_bytes(plan, parts, largest), kept)
    return PipelineBundle(pipeline, resident_bytes(modules.values()), kept)


def _let_dtypes_differ(pipeline: Any) -> None:
    """Let pipelines work with a VAE of another dtype than the denoiser's.

    They hand over pictures and latents in the dtype that they compute in, and want back latents in
    it. What is in full precision already they are not to cast there and back, which would round it.
    """
    vae = getattr(pipeline, "vae", None)
    if vae is None:
        return
    handed_over: Any = None

    def cast_in(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(_as(value, vae.dtype) for value in inputs)

    def note(module: Any, inputs: tuple[Any, ...]) -> None:
        nonlocal handed_over
        handed_over = inputs[0].dtype

    def cast_out(module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        # Encoders of video give what they keep for the next frames too.
        if isinstance(output, tuple):
            return (_as(output[0], handed_over), *output[1:])
        return _as(output, handed_over)

    encoding = _parts(vae, "encoder", "quant_conv")
    if encoding:
        encoding[0].register_forward_pre_hook(note)
        encoding[-1].register_forward_hook(cast_out)
    for part in (*encoding, *_parts(vae, "post_quant_conv", "decoder")):
        part.register_forward_pre_hook(cast_in)
    if str(vae.dtype) == "torch.float32":
        vae.register_to_config(force_upcast=False)


def _as(value: Any, dtype: Any) -> Any:
    """Floating-point tensors in the dtype, everything else as it is."""
    is_tensor = hasattr(value, "is_floating_point")
    return value.to(dtype) if is_tensor and value.is_floating_point() else value


def _parts(module: Any, *names: str) -> list[Any]:
    found = (getattr(module, name, None) for name in names)
    return [part for part in found if part is not None]


def _make_interruptible(pipeline: Any) -> None:
    """Let a cancel take effect inside a long encode or decode: each larger module asks first."""
    for component in pipeline.components.values():
        if not hasattr(component, "modules"):
            continue
        for module in component.modules():
            if next(module.children(), None) is not None:
                module.register_forward_pre_hook(_ask)


def _ask(module: Any, inputs: tuple[Any, ...]) -> None:
    """One function for all pipelines: compiled code is used again where the hooks are the same."""
    import torch

    # A compiled block is asked as a whole, before it begins.
    if not torch.compiler.is_compiling():
        check_now()
