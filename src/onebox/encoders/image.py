"""Encoder `image`: PIL pictures to PNG, JPEG or WEBP."""

from __future__ import annotations

import io
import json
from typing import Any

from onebox.core.plugins import ENCODERS
from onebox.core.results import Artifact, Encoder, Output

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
# zlib's fastest levels lose little on pictures and take a fraction of the default's time.
PNG_LEVEL = 4
# A JPEG segment holds 64 KiB, a little of it taken by the rest of the EXIF.
EXIF_BYTES = 65_000


class ImageEncoder(Encoder):
    """PNG carries `embedded` as text chunks, JPEG and WEBP as JSON in the EXIF description.

    The picture's colour profile goes along. JPEG knows no alpha: there, what is transparent lies on
    white.
    """

    kind = "image"

    def encode(self, output: Output) -> Artifact:
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        image_format = output.options.get("format", "png")
        buffer = io.BytesIO()
        if image_format == "png":
            text = PngInfo()
            for name, value in output.embedded.items():
                text.add_itxt(name, value) if not value.isascii() else text.add_text(name, value)
            level = output.options.get("compress_level", PNG_LEVEL)
            output.value.save(buffer, "PNG", pnginfo=text, compress_level=level)
        else:
            exif = Image.Exif()
            exif[0x010E] = _description(output.embedded, image_format)  # ImageDescription
            picture = _on_white(output.value) if image_format == "jpeg" else output.value
            picture.save(
                buffer,
                image_format.upper(),
                quality=output.options.get("quality", 90),
                exif=exif,
                icc_profile=output.value.info.get("icc_profile"),
            )
        return Artifact(MEDIA_TYPES[image_format], buffer.getvalue(), None, output.meta)


def _description(embedded: dict[str, str], image_format: str) -> str | bytes:
    """As JSON. What no JPEG can hold is left out of it: the ends of the longest texts."""
    plain = json.dumps(embedded)
    if len(plain) <= EXIF_BYTES:
        return plain
    # Escapes are up to three times as long as UTF-8.
    while len(text := json.dumps(embedded, ensure_ascii=False).encode()) > EXIF_BYTES:
        if image_format != "jpeg":
            break
        longest = max(embedded, key=lambda name: len(embedded[name]))
        embedded = {**embedded, longest: embedded[longest][: len(embedded[longest]) // 2]}
    return text


def _on_white(picture: Any) -> Any:
    from PIL import Image

    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


ENCODERS.register(ImageEncoder.kind, ImageEncoder())
