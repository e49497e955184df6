"""Files that a model can do something with, among the made-up bytes. Loaded by schemathesis, which
would hardly ever make up a picture or a sound.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import schemathesis
from hypothesis import strategies
from PIL import Image
from schemathesis.transport.serialization import Binary

from tests.support import fuzz_checks

# Named so that schemathesis finds its check.
no_fault_of_the_server = fuzz_checks.no_fault_of_the_server
DATA = Path(__file__).parents[1] / "data"
SIDE = 96


def small_picture() -> bytes:
    """A cup on a table, as PNG."""
    written = io.BytesIO()
    with Image.open(DATA / "cutouts" / "coffee.png") as picture:
        picture.convert("RGB").resize((SIDE, SIDE)).save(written, "PNG")
    return written.getvalue()


def media() -> strategies.SearchStrategy[str]:
    """A picture, the same as a data URL, a speech of eleven seconds, or any bytes."""
    picture = small_picture()
    data_url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    known = [Binary(picture), data_url, Binary((DATA / "jfk.flac").read_bytes())]
    return strategies.one_of(strategies.sampled_from(known), strategies.binary().map(Binary))


schemathesis.openapi.format("binary", media())
