"""All tiny pipelines for pictures by name, saved and loaded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from onebox.core.contracts import Family
from onebox.imaging.diffusion.bundles import PipelineBundle
from tests.families import (
    tiny_glm,
    tiny_models,
    tiny_qwen,
    tiny_sentences,
    tiny_stable_diffusions,
    tiny_transformers,
)
from tests.families.pictures import FAMILY, device, entry

BUILDERS: Mapping[str, Callable[[Path], Path]] = {
    "sd": tiny_models.stable_diffusion,
    "sd-inpaint": tiny_stable_diffusions.inpainting,
    "pix2pix": tiny_stable_diffusions.instructed,
    "lcm": tiny_stable_diffusions.consistency,
    "sdxl": tiny_stable_diffusions.xl,
    "sdxl-refiner": tiny_stable_diffusions.refiner,
    "upscale-x4": tiny_stable_diffusions.upscale_x4,
    "upscale-x2": tiny_stable_diffusions.upscale_x2,
    "sd3": tiny_transformers.sd3,
    "flux": tiny_transformers.flux,
    "flux-fill": tiny_transformers.flux_fill,
    "kontext": tiny_transformers.kontext,
    "chroma": tiny_transformers.chroma,
    "pixart": tiny_transformers.pixart,
    "qwen-image": tiny_qwen.qwen_image,
    "flux2-klein": tiny_qwen.flux2_klein,
    "z-image": tiny_qwen.z_image,
    "pixart-alpha": tiny_sentences.pixart_alpha,
    "aura-flow": tiny_sentences.aura_flow,
    "cogview3": tiny_sentences.cogview3,
    "hunyuan-dit": tiny_sentences.hunyuan_dit,
    "sana": tiny_sentences.sana,
    "lumina2": tiny_sentences.lumina2,
    "cogview4": tiny_glm.cogview4,
    "kolors": tiny_glm.kolors,
}


class Shelf:
    """Checkpoints of a family, made by the builder of their name when they are first asked for."""

    def __init__(
        self,
        folder: Path,
        builders: Mapping[str, Callable[[Path], Path]] = BUILDERS,
        family: Family = FAMILY,
    ) -> None:
        self._folder = folder
        self._builders = builders
        self._family = family
        self._loaded: dict[str, PipelineBundle] = {}

    def path(self, name: str) -> Path:
        folder = self._folder / name
        return folder if folder.exists() else self._builders[name](folder)

    def bundle(self, name: str) -> PipelineBundle:
        if name not in self._loaded:
            loaded = self._family.load(entry(self.path(name), self._family), device())
            assert isinstance(loaded, PipelineBundle)
            self._loaded[name] = loaded
        return self._loaded[name]
