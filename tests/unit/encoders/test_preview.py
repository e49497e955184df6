"""Previews as files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from onebox.core.plugins import ENCODERS
from onebox.core.results import Output
from onebox.encoders import preview


@pytest.mark.parametrize(("image_format", "name"), [("png", "PNG"), ("jpeg", "JPEG")])
def test_a_preview_is_a_picture_of_the_full_size(image_format: str, name: str) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, 3:] = 255, 0, 0
    options = {"format": image_format, "quality": 90, "size": (48, 32)}
    artifact = ENCODERS[preview.PreviewEncoder.kind].encode(
        Output("preview", pixels, options=options)
    )
    assert artifact.media_type == f"image/{image_format}"
    assert artifact.data is not None
    picture = Image.open(io.BytesIO(artifact.data))
    assert (picture.format, picture.mode, picture.size) == (name, "RGB", (48, 32))
    left, right = (picture.getpixel((x, 16)) for x in (4, 43))
    assert max(left) < 10
    assert right[0] > 245
    assert max(right[1:]) < 10
