"""A product on a canvas: cut out by its matte, put in its place, joined with a drawn background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onebox.imaging.layout import Box, Layout

GREY = (127, 127, 127)
# A shadow's height as a share of the product's; how far it reaches out below, and how much it is
# blurred, as shares of its width.
SHADOW_HEIGHT = 0.4
SHADOW_DROP = 0.03
SHADOW_BLUR = 0.025


@dataclass(frozen=True, slots=True)
class Composition:
    """A product on its canvas, all three of the canvas' size.

    Attributes:
        start: Pillow RGB that drawing starts from: the product, around it the photo or grey.
        layer: Pillow RGB with the product's own pixels.
        alpha: Pillow L: how much of each pixel is the product's, 255 for all of it.
        placed: where the product lies.
    """

    start: Any
    layer: Any
    alpha: Any
    placed: Box

    @property
    def to_draw(self) -> Any:
        """Pillow L: 255 is the background, which is drawn anew."""
        return self.alpha.point([255 - value for value in range(256)])


def composed(photo: Any, matte: Any, layout: Layout) -> Composition:
    """The product of a Pillow RGB photo in its place."""
    from PIL import Image

    product = photo.crop(layout.taken.corners)
    cut = matte.crop(layout.taken.corners)
    if layout.is_resampled:
        size = layout.placed.width, layout.placed.height
        product = product.resize(size, Image.Resampling.LANCZOS)
        cut = cut.resize(size, Image.Resampling.LANCZOS)
    corner = layout.placed.left, layout.placed.top
    alpha = Image.new("L", layout.size)
    alpha.paste(cut, corner)
    layer = Image.new("RGB", layout.size, GREY)
    layer.paste(product, corner)
    if layout.size == photo.size and layout.taken == layout.placed:
        return Composition(photo, layer, alpha, layout.placed)
    start = Image.new("RGB", layout.size, GREY)
    start.paste(product, corner, cut)
    return Composition(start, layer, alpha, layout.placed)


def on_background(composition: Composition, drawn: Any, shadow: float = 0.0) -> Any:
    """The product on a drawn background. Where its alpha is 255, its pixels are its own.

    Args:
        drawn: Pillow RGB of any size; it is made the canvas' own.
        shadow: how dark the product's shadow on the ground is, 0 to 1.
    """
    from PIL import Image

    size = composition.alpha.size
    background = drawn if drawn.size == size else drawn.resize(size, Image.Resampling.LANCZOS)
    if shadow:
        darkness = ground_shadow(composition)
        darkness = darkness.point([round(value * shadow) for value in range(256)])
        background = Image.composite(Image.new("RGB", size), background, darkness)
    return Image.composite(composition.layer, background, composition.alpha)


def ground_shadow(composition: Composition) -> Any:
    """Pillow L of the canvas' size: the product's outline, pressed down onto its lower edge."""
    from PIL import Image, ImageFilter

    box = composition.placed
    outline = composition.alpha.crop(box.corners)
    solid = outline.point([0] * 128 + [255] * 128).getbbox()
    shadow = Image.new("L", composition.alpha.size)
    if solid is not None:
        bottom = box.top + solid[3] + round(box.width * SHADOW_DROP)
        height = max(1, round((solid[3] - solid[1]) * SHADOW_HEIGHT))
        flat = outline.crop((0, solid[1], box.width, solid[3]))
        flat = flat.resize((box.width, height), Image.Resampling.BOX)
        shadow.paste(flat, (box.left, bottom - height))
    return shadow.filter(ImageFilter.GaussianBlur(max(1.0, box.width * SHADOW_BLUR)))
