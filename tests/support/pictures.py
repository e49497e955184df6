"""Reading the pictures that a server under test sends."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image


def picture(b64: str | None) -> Image.Image:
    assert b64
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def pixels(b64: str | None) -> np.ndarray:
    return np.asarray(picture(b64).convert("RGB"))


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """The mean difference of their values, of 255. Rounding alone makes less than a hundredth."""
    return float(np.abs(one.astype(float) - other.astype(float)).mean())
