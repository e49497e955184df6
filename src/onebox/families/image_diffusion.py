"""Family `image_diffusion`: diffusers folders that make pictures.

What may be loaded is an allow-list of class names (`imaging/diffusion/abilities.py`, which also
says what each can do); a folder that names code of its own is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from onebox.core.cancel import check_now
from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.errors import ModelBroken
from onebox.core.on_disk import Match, OnDisk, TensorInfo
from onebox.core.plugins import FAMILIES
from onebox.core.remote_code import refuse_remote_code
from onebox.core.weight_sizes import own_memory, resident_bytes
from onebox.imaging.checkpoints.stamps import stamps_of_folder
from onebox.imaging.diffusion import abilities
from onebox.imaging.diffusion.memory_modes import place
from onebox.imaging.diffusion.memory_plan import device_bytes, plan_for, weights_bytes
from onebox.imaging.diffusion.quantization import quantization_arguments

log = structlog.get_logger(__name__)

COMPONENT_LIBRARIES = frozenset({"diffusers", "transformers"})
SAFETY_CHECKERS = frozenset({"safety_checker", "feature_extractor", "image_encoder"})


class PipelineBundle:
    """One loaded diffusers pipeline. Tasks make views of `pipeline` that share its weights.

    `kept` holds what was found out about these weights, and goes with them.
    """

    def __init__(self, pipeline: Any, size_bytes: int) -> None:
        self.pipeline = pipeline
        self.size_bytes = size_bytes
        self.kept: dict[str, Any] = {}

    def close(self) -> None:
        self.kept.clear()
        self.pipeline.remove_all_hooks()
        self.pipeline = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What a denoiser's configuration tells of what it can do.

    Attributes:
        in_channels: of the denoiser.
        text_width: of the text it reads.
        native_size: side in pixels of the pictures that were learnt.
    """

    in_channels: int | None = None
    text_width: int | None = None
    native_size: int | None = None
    is_refiner: bool = False


def match_of(class_name: str, shape: Shape) -> Match:
    """A claim on a checkpoint of this pipeline class.

    Raises ModelBroken when nothing can be done with it.
    """
    base = abilities.base_of(class_name, text_width=shape.text_width, is_refiner=shape.is_refiner)
    tasks = abilities.tasks_of(class_name, base, shape.in_channels)
    if not tasks:
        raise ModelBroken(
            f"its denoiser takes {shape.in_channels} channels, which no pipeline for a "
            f"{class_name} gives it; such a model (for depth, edges, …) is not served"
        )
    facts = abilities.facts_of(class_name, base, shape.in_channels, shape.native_size)
    if shape.text_width is not None:
        facts["text_width"] = shape.text_width
    return Match(class_name, facts, tasks)


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
    place(pipeline, plan, device)
    if plan.offload is not None:
        return PipelineBundle(pipeline, device_bytes(plan, parts, largest))
    return PipelineBundle(pipeline, resident_bytes(modules.values()))


class ImageDiffusion(Family):
    name = "image_diffusion"
    engine = "microbatch"
    tasks = abilities.TASK_NAMES

    def matches(self, on_disk: OnDisk) -> Match | None:
        if not on_disk.is_folder or "model_index.json" not in on_disk.files:
            return None
        index = on_disk.read_json("model_index.json")
        class_name = index.get("_class_name")
        if class_name not in abilities.class_names():
            return None
        components = dict(_components(index))
        refuse_remote_code(on_disk)
        for component in components:
            _require_safetensors(on_disk, component)
        match = match_of(class_name, _shape(on_disk, index, components))
        # By which single files find what they lack.
        facts = {**match.facts, "parts": stamps_of_folder(on_disk, components)}
        return Match(match.kind, facts, match.tasks)

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        loaded = dict(_components(on_disk.read_json("model_index.json"))).keys() - SAFETY_CHECKERS
        files: dict[str, list[TensorInfo]] = {}
        for file in on_disk.files:
            component = file.split("/")[0]
            if component in loaded and file.endswith(".safetensors"):
                files.setdefault(component, []).extend(on_disk.tensors(file).values())
        return weights_bytes(files, on_disk.overrides, device)

    def load(self, entry: Entry, device: Device) -> Bundle:
        import diffusers
        import torch

        dtype = getattr(torch, entry.overrides.get("dtype", device.dtype))
        vae_dtype = getattr(torch, entry.overrides.get("dtype", device.vae_dtype))
        index = json.loads((Path(entry.path) / "model_index.json").read_text(encoding="utf-8"))
        absent = {name: None for name in SAFETY_CHECKERS if isinstance(index.get(name), list)}
        pipeline = getattr(diffusers, index["_class_name"]).from_pretrained(
            entry.path,
            dtype={"default": dtype, "vae": vae_dtype},
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **quantization_arguments(entry, device, index.keys(), dtype),
            **absent,
            **({"requires_safety_checker": False} if "safety_checker" in absent else {}),
        )
        return ready(pipeline, entry, device)

    def warm_up(self) -> None:
        from transformers.utils import logging as transformers_logging

        # Before diffusers is imported, or its notices are out already.
        _silence(transformers_logging)
        from diffusers import StableDiffusionPipeline  # noqa: F401
        from diffusers.utils import logging as diffusers_logging

        _silence(diffusers_logging)


def _silence(library_logging: Any) -> None:
    """No notices and no progress bars between the lines of a server's log."""
    library_logging.set_verbosity_error()
    library_logging.disable_progress_bar()


def _components(index: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(component, class name) of `model_index.json`.

    Raises ModelBroken for code that is not a library's.
    """
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list):
            continue
        if len(value) != 2 or value[1] is None:
            continue
        library, class_name = value
        if library not in COMPONENT_LIBRARIES:
            raise ModelBroken(
                f"model_index.json takes {name} from {library!r}; only components of "
                f"{' and '.join(sorted(COMPONENT_LIBRARIES))} are loaded"
            )
        yield name, str(class_name)


def _require_safetensors(on_disk: OnDisk, component: str) -> None:
    weights = [f for f in on_disk.files if f.startswith(f"{component}/")]
    if not weights:
        raise ModelBroken(f"the folder {component}/ is missing; copy the whole checkpoint")
    pickled = [f for f in weights if f.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    if pickled and not any(f.endswith(".safetensors") for f in weights):
        raise ModelBroken(f"{pickled[0]} is a pickle; convert it to safetensors first")
    for file in weights:
        if file.endswith(".safetensors"):
            on_disk.tensors(file)


def _shape(on_disk: OnDisk, index: Mapping[str, Any], components: Mapping[str, str]) -> Shape:
    denoiser = next((name for name in ("unet", "transformer") if name in components), None)
    if denoiser is None:
        return Shape()
    config = on_disk.read_json(f"{denoiser}/config.json")
    return Shape(
        _number(config.get("in_channels")),
        _number(config.get("cross_attention_dim")),
        _native_size(on_disk, config) if "vae" in components else None,
        bool(index.get("requires_aesthetics_score")),
    )


def _native_size(on_disk: OnDisk, denoiser: Mapping[str, Any]) -> int | None:
    """In pixels, where the configuration tells it."""
    latents = _number(denoiser.get("sample_size"))
    levels = on_disk.read_json("vae/config.json").get("block_out_channels") or ()
    return latents * 2 ** (len(levels) - 1) if latents and levels else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


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
        return tuple(value.to(vae.dtype) if hasattr(value, "to") else value for value in inputs)

    def note(module: Any, inputs: tuple[Any, ...]) -> None:
        nonlocal handed_over
        handed_over = inputs[0].dtype

    def cast_out(module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        return output.to(handed_over)

    encoding = _parts(vae, "encoder", "quant_conv")
    if encoding:
        encoding[0].register_forward_pre_hook(note)
        encoding[-1].register_forward_hook(cast_out)
    for part in (*encoding, *_parts(vae, "post_quant_conv", "decoder")):
        part.register_forward_pre_hook(cast_in)
    if str(vae.dtype) == "torch.float32":
        vae.register_to_config(force_upcast=False)


def _parts(module: Any, *names: str) -> list[Any]:
    found = (getattr(module, name, None) for name in names)
    return [part for part in found if part is not None]


def _make_interruptible(pipeline: Any) -> None:
    """Let a cancel take effect inside a long encode or decode: each larger module asks first."""

    def ask(module: Any, inputs: tuple[Any, ...]) -> None:
        check_now()

    for component in pipeline.components.values():
        if not hasattr(component, "modules"):
            continue
        for module in component.modules():
            if next(module.children(), None) is not None:
                module.register_forward_pre_hook(ask)


FAMILIES.register(ImageDiffusion.name, ImageDiffusion())
