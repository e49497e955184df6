"""All tiny pipelines for pictures by name, saved and loaded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from onebox.imaging.diffusion.bundles import PipelineBundle
from tests.families import tiny_models, tiny_qwen, tiny_stable_diffusions, tiny_transformers
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
}


class Shelf:
    """Checkpoints, made when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, PipelineBundle] = {}

    def path(self, name: str) -> Path:
        folder = self._folder / name
        return folder if folder.exists() else BUILDERS[name](folder)

    def bundle(self, name: str) -> PipelineBundle:
        if name not in self._loaded:
            loaded = FAMILY.load(entry(self.path(name)), device())
            assert isinstance(loaded, PipelineBundle)
            self._loaded[name] = loaded
        return self._loaded[name]
