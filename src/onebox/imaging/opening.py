"""Pictures that clients send, opened in one way: upright, 8 bits, and nothing of what came beside
the pixels but the colour profile.

What is decided here of odd files: animations are refused, of a JPEG that holds several pictures
(MPO) the first counts, CMYK and grey become RGB, of 16 bits the high 8 stay, and where no alpha is
asked for, what is transparent lies on white.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from onebox.core.errors import InvalidInput
from onebox.imaging.structure import MAX_PARTS, MAX_SCANS, has_too_many_scans, is_endless

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000
# Of all pictures of a request together; opened, a pixel is 3 or 4 bytes.
MAX_TOTAL_PIXELS = 100_000_000
MIN_SIDE = 8
MAX_ASPECT = 100

_ORIENTATION = 0x0112
# EXIF's numbers of how a picture is to be turned; from 5 on width and height change places.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What a picture's header says.

    Attributes:
        format: "png", "jpeg" or "webp".
        width, height: in pixels, of the upright picture.
        has_alpha: whether it has an alpha channel; that may still be opaque everywhere.
    """

    format: str
    width: int
    height: int
    has_alpha: bool


def probe(raw: bytes, param: str, name: str = "the picture") -> PictureFacts:
    """Facts from the header alone; nothing is decoded.

    Args:
        param: the request field it came in.
        name: what errors call it.

    Raises:
        InvalidInput: not a PNG, JPEG or WebP file, too large, too small, or animated.
    """
    with _read(raw, param, name) as picture:
        width, height = picture.size
        if _orientation(picture) >= 5:
            width, height = height, width
        kind = "jpeg" if picture.format == "MPO" else str(picture.format).lower()
        return PictureFacts(kind, width, height, bool(picture.has_transparency_data))


def open_picture(raw: bytes, param: str, *, alpha: bool = False, name: str = "the picture") -> Any:
    """A Pillow image, upright; RGB, or RGBA where `alpha` is asked for and the file has some.

    Its `info` holds the file's RGB colour profile, where there is one, and nothing else: what a
    camera wrote beside the pixels must not go out with a result.

    Raises:
        InvalidInput: as `probe`, and when it is cut short or damaged.
    """
    from PIL import Image

    if has_too_many_scans(raw):
        raise InvalidInput(
            f"{name} is a JPEG of more than {MAX_SCANS} passes; save it anew", param=param
        )
    with _read(raw, param, name) as picture:
        turn, profile = _TURNS.get(_orientation(picture)), _rgb_profile(picture)
        opened = _in_colour(picture, alpha)
        if turn is not None:
            opened = opened.transpose(Image.Transpose[turn])
        opened.info = profile
        return opened


def text_of(raw: bytes, param: str) -> dict[str, str]:
    """What the text chunks of a PNG file say that stand before its pixels. Raises as `probe`."""
    with _read(raw, param, "the picture") as picture:
        told = picture.info if picture.format == "PNG" else {}
        return {name: str(text) for name, text in told.items() if isinstance(text, str)}


def open_pictures(raws: Sequence[bytes], param: str, *, alpha: bool = False) -> list[Any]:
    """As `open_picture`; so many at most that they fit into memory together."""
    pictures, left = [], MAX_TOTAL_PIXELS
    for number, raw in enumerate(raws):
        pictures.append(open_picture(raw, param, alpha=alpha, name=f"picture {number}"))
        left -= math.prod(pictures[-1].size)
        if left < 0:
            raise InvalidInput(
                f"the pictures up to number {number} have more than {MAX_TOTAL_PIXELS} pixels "
                "together; send smaller ones",
                param=param,
                details={"max_pixels": MAX_TOTAL_PIXELS},
            )
    return pictures


def on_white(picture: Any) -> Any:
    """A Pillow picture in RGB or RGBA as RGB: what is transparent lies on white."""
    from PIL import Image

    if picture.mode != "RGBA":
        return picture
    ground = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(ground, picture).convert("RGB")


@contextmanager
def _read(raw: bytes, param: str, name: str) -> Iterator[Any]:
    """The picture with only its header read; whatever goes wrong inside is the file's fault."""
    from PIL import Image

    if is_endless(raw):
        raise InvalidInput(
            f"{name} is a file of more than {MAX_PARTS} parts; save it anew", param=param
        )
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as picture:
            _check(picture, param, name)
            yield picture
    except InvalidInput:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidInput(
            f"{name} has more than {MAX_PIXELS} pixels; send a smaller one",
            param=param,
            details={"max_pixels": MAX_PIXELS},
        ) from error
    except Exception as error:  # Decoders fail in as many ways as files can be damaged.
        raise InvalidInput(
            f"{name} cannot be read; send a whole PNG, JPEG or WebP file", param=param
        ) from error


def _check(picture: Any, param: str, name: str) -> None:
    """By the header, before anything is decoded."""
    width, height = picture.size
    frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
    fault = None
    if width * height > MAX_PIXELS:
        fault = f"is {width}x{height}; at most {MAX_PIXELS} pixels are read"
    elif min(width, height) < MIN_SIDE:
        fault = f"is {width}x{height}; each side needs at least {MIN_SIDE} pixels"
    elif max(width, height) > min(width, height) * MAX_ASPECT:
        fault = f"is {width}x{height}; one side may be at most {MAX_ASPECT} times the other"
    elif frames > 1:
        fault = f"is animated and has {frames} frames; send one of them as a still picture"
    if fault is not None:
        raise InvalidInput(
            f"{name} {fault}",
            param=param,
            details={"width": width, "height": height, "max_pixels": MAX_PIXELS},
        )


def _orientation(picture: Any) -> int:
    """EXIF's number; 1, upright, where there is none or what there is does not parse.

    Of a PNG file only what stands before its pixels is read: the rest would have to be decoded.
    """
    if picture.format == "PNG":
        # Found nothing so far, Pillow would decode the picture to look behind it.
        picture.info.setdefault("exif", None)
    try:
        told = picture.getexif().get(_ORIENTATION)
    except Exception:  # As many kinds as there are ways to spoil it; the pixels may be sound.
        return 1
    return told if isinstance(told, int) else 1


def _rgb_profile(picture: Any) -> dict[str, Any]:
    """The colour profile as `info` has it; those of CMYK or grey would be wrong from now on."""
    profile = picture.info.get("icc_profile")
    return {"icc_profile": profile} if profile and profile[16:20] == b"RGB " else {}


def _in_colour(picture: Any, alpha: bool) -> Any:
    """RGB, or RGBA if that is wanted and there is some; decodes the pixels."""
    picture = _in_eight_bits(picture)
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    return layer if alpha else on_white(layer)


def _in_eight_bits(picture: Any) -> Any:
    """Pillow reads 16-bit colour as 8 bits by itself, but neither grey nor a transparent shade."""
    import numpy as np
    from PIL import Image

    key = picture.info.get("transparency")
    if not picture.mode.startswith("I;16"):
        if isinstance(key, tuple) and max(key) > 255:
            picture.info["transparency"] = tuple(part >> 8 for part in key)
        return picture
    grey = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if key is not None:
        grey.info["transparency"] = key >> 8
    return grey
