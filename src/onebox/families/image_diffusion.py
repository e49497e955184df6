"""Family `image_diffusion`: diffusers folders that make pictures, loaded through the auto-pipeline
classes.

What may be loaded is an allow-list of class names; a folder that names code of its own is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog

from onebox.core.cancel import check_now
from onebox.core.contracts import (
    Bundle,
    Device,
    Entry,
    Family,
    Match,
    OnDisk,
)
from onebox.core.errors import ModelBroken
from onebox.core.plugins import FAMILIES
from onebox.core.remote_code import refuse_remote_code
from onebox.core.weight_sizes import bytes_as, resident_bytes

log = structlog.get_logger(__name__)

# Every class that AutoPipelineForText2Image can make from its own repository layout without extra
# code.
PIPELINE_CLASSES = frozenset(
    {
        "StableDiffusionPipeline",
        "StableDiffusionXLPipeline",
        "StableDiffusion3Pipeline",
        "FluxPipeline",
        "LatentConsistencyModelPipeline",
        "PixArtAlphaPipeline",
        "PixArtSigmaPipeline",
        "SanaPipeline",
        "AuraFlowPipeline",
        "KolorsPipeline",
        "Lumina2Pipeline",
        "CogView3PlusPipeline",
        "CogView4Pipeline",
        "ChromaPipeline",
        "HunyuanDiTPipeline",
        "QwenImagePipeline",
        "ZImagePipeline",
    }
)
COMPONENT_LIBRARIES = frozenset({"diffusers", "transformers"})
SAFETY_CHECKERS = frozenset({"safety_checker", "feature_extractor", "image_encoder"})


class PipelineBundle:
    """One loaded diffusers pipeline. Tasks make views of `pipeline` that share its weights."""

    def __init__(self, pipeline: Any, size_bytes: int) -> None:
        self.pipeline = pipeline
        self.size_bytes = size_bytes

    def close(self) -> None:
        self.pipeline.remove_all_hooks()
        self.pipeline = None


class ImageDiffusion(Family):
    name = "image_diffusion"
    engine = "microbatch"
    tasks = frozenset({"text-to-image"})

    def matches(self, on_disk: OnDisk) -> Match | None:
        if not on_disk.is_folder or "model_index.json" not in on_disk.files:
            return None
        index = on_disk.read_json("model_index.json")
        class_name = index.get("_class_name")
        if class_name not in PIPELINE_CLASSES:
            return None
        components = dict(_components(index))
        refuse_remote_code(on_disk)
        for component in components:
            _require_safetensors(on_disk, component)
        return Match(class_name, _native_size(on_disk, components))

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        total = 0
        for file in on_disk.files:
            if file.endswith(".safetensors"):
                component = file.split("/")[0]
                dtype = device.vae_dtype if component == "vae" else device.dtype
                total += bytes_as(on_disk.tensors(file).values(), dtype)
        return total

    def load(self, entry: Entry, device: Device) -> Bundle:
        import torch
        from diffusers import AutoPipelineForText2Image

        dtype = getattr(torch, entry.overrides.get("dtype", device.dtype))
        vae_dtype = getattr(torch, entry.overrides.get("dtype", device.vae_dtype))
        index = json.loads((Path(entry.path) / "model_index.json").read_text(encoding="utf-8"))
        absent = {name: None for name in SAFETY_CHECKERS if isinstance(index.get(name), list)}
        auto_class: Any = AutoPipelineForText2Image
        pipeline = auto_class.from_pretrained(
            entry.path,
            dtype={"default": dtype, "vae": vae_dtype},
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **absent,
            **({"requires_safety_checker": False} if "safety_checker" in absent else {}),
        )
        pipeline.set_progress_bar_config(disable=True)
        pipeline.to(device.torch_device)
        if vae_dtype != dtype:
            _cast_decoder_inputs(pipeline.vae)
        _make_interruptible(pipeline)
        modules = (c for c in pipeline.components.values() if hasattr(c, "parameters"))
        return PipelineBundle(pipeline, resident_bytes(modules))

    def warm_up(self) -> None:
        from transformers.utils import logging as transformers_logging

        # Before diffusers is imported, or its notices are out already.
        _silence(transformers_logging)
        from diffusers import AutoPipelineForText2Image, StableDiffusionPipeline  # noqa: F401
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


def _native_size(on_disk: OnDisk, components: Mapping[str, str]) -> dict[str, Any]:
    """Facts for tasks: `native_size` in pixels where the configuration tells it, else nothing."""
    denoiser = next((name for name in ("unet", "transformer") if name in components), None)
    if denoiser is None or "vae" not in components:
        return {}
    sample_size = on_disk.read_json(f"{denoiser}/config.json").get("sample_size")
    levels = on_disk.read_json("vae/config.json").get("block_out_channels") or ()
    if not isinstance(sample_size, int) or not levels:
        return {}
    return {"native_size": sample_size * 2 ** (len(levels) - 1)}


def _cast_decoder_inputs(vae: Any) -> None:
    """Let pipelines that hand over latents in the denoiser's dtype use a decoder of another one."""

    def cast(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(value.to(vae.dtype) for value in inputs)

    for name in ("post_quant_conv", "decoder"):
        if getattr(vae, name, None) is not None:
            getattr(vae, name).register_forward_pre_hook(cast)


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
