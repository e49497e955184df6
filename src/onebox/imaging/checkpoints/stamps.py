"""One short text for the shape of a component: those of equal stamps can stand for each other.

A stamp is the same whether the component lies in a diffusers folder or in a single file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from onebox.core.on_disk import OnDisk
from onebox.imaging.checkpoints.keys import Layout, Shapes, names_under

# How a denoiser takes in its latents differs among the variants of a base.
INPUTS = (
    "input_blocks.0.0.weight",
    "conv_in.weight",
    "img_in.weight",
    "x_embedder.weight",
    "x_embedder.proj.weight",
    "pos_embed.proj.weight",
)
# Files of training hold more under the same prefix.
VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
TOKEN_TABLES = ("token_embedding.weight", "shared.weight", "embed_tokens.weight")


def stamp_of(component: str, shapes: Shapes) -> str | None:
    """Of the tensors of one component, their names without the file's prefix.

    None for what is told by its configuration alone.
    """
    if component in ("unet", "transformer"):
        return f"{component}:{_values(shapes, lambda name: name not in INPUTS)}"
    if component == "vae":
        return f"vae:{_values(shapes, lambda name: name.startswith(VAE_PARTS))}"
    if component.startswith("text_encoder"):
        table = next((s for n, s in shapes.items() if n.endswith(TOKEN_TABLES)), None)
        return None if table is None else "text:" + "x".join(map(str, table))
    return None


def stamps_of_file(layout: Layout, shapes: Shapes) -> dict[str, str]:
    """Component → stamp, of what a single file holds."""
    found = {}
    for component, prefix in layout.parts.items():
        names = names_under(layout, component, shapes)
        own = {name.removeprefix(prefix): shapes[name] for name in names}
        found[component] = stamp_of(component, own)
    return {component: stamp for component, stamp in found.items() if stamp is not None}


def stamps_of_folder(on_disk: OnDisk, components: Iterable[str]) -> dict[str, str]:
    """The same of a diffusers folder."""
    found = {}
    for component in components:
        shapes: dict[str, tuple[int, ...]] = {}
        for file in on_disk.files:
            if file.startswith(f"{component}/") and file.endswith(".safetensors"):
                shapes |= {name: info.shape for name, info in on_disk.tensors(file).items()}
        found[component] = stamp_of(component, shapes) if shapes else None
    return {component: stamp for component, stamp in found.items() if stamp is not None}


def _values(shapes: Shapes, counts: Callable[[str], bool]) -> int:
    return sum(math.prod(shape) for name, shape in shapes.items() if counts(name))
