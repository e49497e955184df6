"""The configuration trees that come with the server, and which of them a file goes with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onebox.imaging.checkpoints.keys import Layout

ROOT = Path(__file__).parent / "configs"

_CLIP_L, _CLIP_G, _T5 = "text:49408x768", "text:49408x1280", "text:32128x4096"
_VAE_4, _VAE_16 = "vae:83653863", "vae:83819683"
_SD3_TEXT = {"text_encoder": _CLIP_L, "text_encoder_2": _CLIP_G, "text_encoder_3": _T5}
_FLUX_TEXT = {"text_encoder": _CLIP_L, "text_encoder_2": _T5}
# Tree → the stamps of its components.
TREES: Mapping[str, Mapping[str, str]] = {
    "sd1": {"unet": "unet:859509444", "vae": _VAE_4, "text_encoder": _CLIP_L},
    "sd2": {"unet": "unet:865899204", "vae": _VAE_4, "text_encoder": "text:49408x1024"},
    "sdxl": {
        "unet": "unet:2567452164",
        "vae": _VAE_4,
        "text_encoder": _CLIP_L,
        "text_encoder_2": _CLIP_G,
    },
    "sdxl-refiner": {"unet": "unet:2259512836", "vae": _VAE_4, "text_encoder_2": _CLIP_G},
    "sd3-medium": {"transformer": "transformer:2084852800", "vae": _VAE_16, **_SD3_TEXT},
    "sd3.5-medium": {"transformer": "transformer:2469565632", "vae": _VAE_16, **_SD3_TEXT},
    "sd3.5-large": {"transformer": "transformer:8146125120", "vae": _VAE_16, **_SD3_TEXT},
    "flux-dev": {"transformer": "transformer:11901211712", "vae": _VAE_16, **_FLUX_TEXT},
    "flux-schnell": {"transformer": "transformer:11890981952", "vae": _VAE_16, **_FLUX_TEXT},
}
OF_BASE: Mapping[str, tuple[str, ...]] = {
    "sd1": ("sd1",),
    "sd2": ("sd2",),
    "sdxl": ("sdxl",),
    "sdxl-refiner": ("sdxl-refiner",),
    "sd3": ("sd3-medium", "sd3.5-medium", "sd3.5-large"),
    "flux": ("flux-dev", "flux-schnell"),
}
# Of the shapes of another, told apart by their owner alone.
KIN: Mapping[str, str] = {"sd2-base": "sd2", "flux-kontext": "flux-dev"}
# Where a variant was trained otherwise than the tree of its shapes.
OF_VARIANT: Mapping[tuple[str, str], str] = {("sd2", "inpainting"): "sd2-base"}
# Values in the weights behind a stamp, for what must come from elsewhere.
VALUES: Mapping[str, int] = {
    _CLIP_L: 123_650_304,
    _CLIP_G: 694_659_840,
    _T5: 4_762_310_656,
    "text:49408x1024": 340_387_840,
    _VAE_4: 83_653_863,
    _VAE_16: 83_819_683,
}
PIPELINES: Mapping[tuple[str, str], str] = {
    ("sd1", ""): "StableDiffusionPipeline",
    ("sd1", "inpainting"): "StableDiffusionInpaintPipeline",
    ("sd2", ""): "StableDiffusionPipeline",
    ("sd2", "inpainting"): "StableDiffusionInpaintPipeline",
    ("sdxl", ""): "StableDiffusionXLPipeline",
    ("sdxl", "inpainting"): "StableDiffusionXLInpaintPipeline",
    ("sdxl-refiner", ""): "StableDiffusionXLImg2ImgPipeline",
    ("sd3", ""): "StableDiffusion3Pipeline",
    ("flux", ""): "FluxPipeline",
    ("flux", "fill"): "FluxFillPipeline",
}
KIN_PIPELINES: Mapping[str, str] = {
    "sd2-base": "StableDiffusionPipeline",
    "flux-kontext": "FluxKontextPipeline",
}
# Side in pixels of the pictures that were learnt, by tree.
NATIVE_SIZES: Mapping[str, int] = {"sd1": 512, "sd2": 768, "sd2-base": 512}
NATIVE_SIZE = 1024


def tree_of(layout: Layout, stamps: Mapping[str, str]) -> str | None:
    """The tree whose configurations are those of the file; None for one of an unusual shape."""
    for name in OF_BASE[layout.base]:
        if all(TREES[name].get(component) == stamp for component, stamp in stamps.items()):
            return OF_VARIANT.get((name, layout.variant), name)
    return None


def place_of(tree: str) -> Path:
    """Folder of a tree by its name, or of an installed checkpoint by its path."""
    if tree in KIN and not (ROOT / tree).is_dir():
        return ROOT / KIN[tree]
    return ROOT / tree if tree in TREES or tree in KIN else Path(tree)


def stamps_of_tree(tree: str | None) -> Mapping[str, str]:
    """Component → stamp; nothing for a shape that no tree has."""
    return TREES.get(KIN.get(tree or "", tree or ""), {})


def native_size(tree: str) -> int:
    return NATIVE_SIZES.get(tree, NATIVE_SIZE)
