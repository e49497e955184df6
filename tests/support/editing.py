"""Asking a server with tiny random models for pictures made of others."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
from PIL import Image

from tests.support.pictures import pixels
from tests.unit.imaging.files import file_of, picture

EDITS = "/v1/images/edits"
VARIATIONS = "/v1/images/variations"
SIZE = (96, 80)
HOLE = (20, 20, 60, 60)
# Two steps of a tiny model take hundredths of a second.
QUICK = {"model": "tiny", "prompt": "a red circle", "steps": 2, "seed": 5}


def photo(size: tuple[int, int] = SIZE) -> bytes:
    return file_of(picture(size=size))


def noise(side: int) -> bytes:
    """A picture that no format makes much smaller, as PNG."""
    values = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return file_of(Image.fromarray(values))


def with_hole(size: tuple[int, int] = SIZE, box: tuple[int, int, int, int] = HOLE) -> bytes:
    """A mask as OpenAI has it: transparent where the picture is to change."""
    mask = Image.new("RGBA", size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), box)
    return file_of(mask)


def white_hole(size: tuple[int, int] = SIZE, box: tuple[int, int, int, int] = HOLE) -> Image.Image:
    """The same for `mask_mode=luminance`."""
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def data_url(raw: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(raw).decode()}"


def edit(client: httpx.Client, image: bytes, mask: bytes | None = None, **fields: Any) -> Any:
    """The answer to a form. A field that is None is left out."""
    files = {"image": image} | ({"mask": mask} if mask is not None else {})
    return client.post(EDITS, data=_form(fields), files=files)


def vary(client: httpx.Client, image: bytes, **fields: Any) -> Any:
    return client.post(VARIATIONS, data=_form(fields), files={"image": image})


def drawn(answer: httpx.Response) -> list[np.ndarray]:
    """Of each picture its RGB values."""
    assert answer.status_code == 200, answer.text
    return [pixels(item["b64_json"]) for item in answer.json()["data"]]


def refusal(answer: httpx.Response) -> tuple[str, str]:
    """The field at fault, and what was said about it."""
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    return error["param"], error["message"]


def _form(fields: dict[str, Any]) -> dict[str, str]:
    given = {name: value for name, value in (QUICK | fields).items() if value is not None}
    return {name: str(value) for name, value in given.items()}
