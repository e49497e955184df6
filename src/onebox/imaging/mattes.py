"""Mattes: how much of each pixel of a photo is a product's, from a model, a mask or the photo's
alpha.

A matte is Pillow L of the photo's size; 255 is the product.
"""

from __future__ import annotations

from typing import Any

from onebox.core.errors import InvalidInput
from onebox.imaging.layout import Box
from onebox.imaging.masks import MaskMode, feathered, mask_of, require_shape
from onebox.imaging.opening import open_picture

# How soft the edge of a product is that a mask cuts out, in pixels.
MASK_EDGE = 2
# A segmentation model is rarely quite sure: what it is nearly sure of counts as certain.
SURELY_NOT = 13
SURELY = 242
# From here on a pixel counts as a product's; and in an alpha channel that came with the photo,
# where glass and shadows are of the product too.
HALF = 128
FAINT = 8
# The least of a product that can be placed, as a share of the photo.
MIN_SHARE = 1 / 4096
# Soft edges reach this share of the product's longer side, and some pixels, out of its solid part.
EDGE_SHARE = 0.02
MIN_EDGE = 4
# How far, as a share of the photo's longer side, a product's colours are spread.
SPREAD_SHARE = 0.01
# How far, as a share of the shorter side, around clothing is drawn anew.
CLOTHING_MARGIN = 0.02


def matte_of(raw: bytes, size: tuple[int, int], param: str) -> Any:
    """A model's matte, which came as a picture, for a photo of this size. Raises InvalidInput."""
    from PIL import Image

    matte = open_picture(raw, param, name="the matte").convert("L")
    require_shape(matte.size, size, param, name="the matte")
    if matte.size != size:
        matte = matte.resize(size, Image.Resampling.BILINEAR)
    return hardened(matte)


def matte_of_mask(raw: bytes, size: tuple[int, int], mode: MaskMode, param: str) -> Any:
    """Of a mask: the product is what it keeps. Raises InvalidInput."""
    return feathered(mask_of(raw, size, mode, param), MASK_EDGE).point(range(255, -1, -1))


def matte_of_alpha(photo: Any, param: str) -> Any:
    """The alpha of a photo that has some. Raises InvalidInput."""
    if photo.mode != "RGBA" or photo.getextrema()[3][0] == 255:
        what = "is opaque everywhere" if photo.mode == "RGBA" else "is missing"
        raise InvalidInput(
            f"the alpha channel that should tell the product {what}; say cut=model, or send a mask",
            param=param,
        )
    return photo.getchannel("A")


def clothing_mask(raw: bytes, size: tuple[int, int], param: str) -> Any:
    """A mask of what a matte holds, with its surroundings: seams, and what a wider garment covers.

    255 is drawn anew. Raises InvalidInput when the matte is empty.
    """
    from PIL import ImageFilter

    matte = matte_of(raw, size, param).point([0] * 128 + [255] * 128)
    if matte.getbbox() is None:
        raise InvalidInput("the matte shows no clothing; send a mask of it", param=param)
    # Half the reach of the blur is where it has fallen to some twentieth.
    radius = max(1.0, min(size) * CLOTHING_MARGIN / 2)
    return matte.filter(ImageFilter.GaussianBlur(radius)).point([0] * 12 + [255] * 244)


def hardened(matte: Any) -> Any:
    """A model's matte with what is nearly certain made certain: 0 or 255."""
    span = SURELY - SURELY_NOT
    return matte.point([min(255, max(0, (v - SURELY_NOT) * 255 // span)) for v in range(256)])


def product_box(matte: Any, param: str, least: int = HALF) -> Box:
    """Where the product is, its soft edges included. Raises InvalidInput when there is none.

    Args:
        least: pixels of which the matte says as much are the product's.
    """
    solid = matte.point([0] * least + [255] * (256 - least))
    corners = solid.getbbox()
    share = solid.histogram()[255] / (matte.width * matte.height)
    if corners is None or share < MIN_SHARE:
        raise InvalidInput(
            "no product was found in the picture; send one with an alpha channel, or a mask that "
            "leaves the product out",
            param=param,
            details={"share": round(share, 6), "min": MIN_SHARE},
        )
    left, top, right, bottom = corners
    edge = max(MIN_EDGE, round(EDGE_SHARE * max(right - left, bottom - top)))
    left, top = max(0, left - edge), max(0, top - edge)
    right, bottom = min(matte.width, right + edge), min(matte.height, bottom + edge)
    return Box(left, top, right - left, bottom - top)


def decontaminated(photo: Any, matte: Any, below: int = 255) -> Any:
    """The photo with the colours of the product spread over its soft edges.

    Those hold some of the old background, which would shine around the product on a new one.

    Args:
        photo: Pillow RGB.
        below: pixels of which the matte says less are changed.
    """
    from PIL import Image, ImageFilter

    radius = max(MIN_EDGE, round(max(photo.size) * SPREAD_SHARE))
    blur = ImageFilter.GaussianBlur(radius)
    source = matte.point([0] * below + list(range(below, 256)))
    area = _around(source.getbbox(), 2 * radius, photo.size)
    near, source = photo.crop(area), source.crop(area)
    colours = Image.composite(near, Image.new("RGB", near.size), source).filter(blur)
    result = photo.copy()
    spread = _spread(near, colours, source.filter(blur), matte.crop(area), below)
    result.paste(spread, area[:2])
    return result


def _around(
    box: tuple[int, int, int, int] | None, margin: int, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The box with a margin, inside of a picture of this size."""
    left, top, right, bottom = box or (0, 0, 1, 1)
    return (
        max(0, left - margin),
        max(0, top - margin),
        min(size[0], right + margin),
        min(size[1], bottom + margin),
    )


def _spread(photo: Any, colours: Any, weights: Any, matte: Any, below: int) -> Any:
    """The photo with the mean colour of what is near, where the matte says less than `below`.

    Args:
        colours: the sum of what is near, times `weights` / 255.
    """
    import numpy as np
    from PIL import Image

    pixels, weight = np.array(photo), np.asarray(weights)
    # With less weight the rounding of eight bits would show.
    known = (weight >= 16) & (np.asarray(matte) < below)
    sums = np.asarray(colours)[known].astype(np.uint32)
    heavy = weight[known].astype(np.uint32)[:, None]
    pixels[known] = np.minimum(255, (sums * 255 + heavy // 2) // heavy)
    return Image.fromarray(pixels)
