"""Encoder `image`: PIL pictures to PNG, JPEG or WEBP."""

from __future__ import annotations

import io
import json

from onebox.core.plugins import ENCODERS
from onebox.core.results import Artifact, Encoder, Output

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
# zlib's fastest levels lose little on pictures and take a fraction of the default's time.
PNG_LEVEL = 4
# A JPEG segment holds 64 KiB, a little of it taken by the rest of the EXIF.
EXIF_BYTES = 65_000


class ImageEncoder(Encoder):
    """PNG carries `embedded` as text chunks, JPEG and WEBP as JSON in the EXIF description."""

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
            output.value.save(buffer, "PNG", pnginfo=text, compress_level=PNG_LEVEL)
        else:
            exif = Image.Exif()
            description: str | bytes = json.dumps(output.embedded)
            if len(description) > EXIF_BYTES:  # escapes are up to three times as long as UTF-8
                description = json.dumps(output.embedded, ensure_ascii=False).encode()
            exif[0x010E] = description  # ImageDescription
            picture = output.value.convert("RGB") if image_format == "jpeg" else output.value
            picture.save(
                buffer, image_format.upper(), quality=output.options.get("quality", 90), exif=exif
            )
        return Artifact(MEDIA_TYPES[image_format], buffer.getvalue(), None, output.meta)


ENCODERS.register(ImageEncoder.kind, ImageEncoder())
