"""Seeded cases of inpainting with `onebox-shapes`: a part of a drawing takes another colour, and
the rest is what it was, bit for bit.
"""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import numpy as np
from PIL import Image

from onebox.starter.shapes_data import COLOURS, IMAGE_SIZE, Scene, draw, place_plain
from onebox.starter.shapes_score import colour_index

# Side of the mask, in pixels: the largest plain shapes are a little smaller.
HOLE = 144
# Of what is under the mask, the share that must have the asked colour: a circle in its square, less
# the soft edge.
LEAST_SHARE = 0.25
STEPS = 20
GUIDANCE = 5.0


@dataclass(frozen=True)
class Case:
    """How one case came out."""

    asked: str
    is_right: bool
    is_kept: bool


def inpaint_cases(client: httpx.Client, model: str, count: int) -> Iterator[Case]:
    """`count` cases, each of its own seed."""
    for seed in range(count):
        rng = random.Random(seed)
        before, background, asked = rng.sample(sorted(COLOURS), 3)
        place = place_plain(rng)
        picture = draw(Scene(before, "square", background, (place,)))
        box = _box(round(place.x), round(place.y))
        prompt = f"a {asked} circle on a {background} background"
        result = _inpainted(client, model, picture, _mask(box), prompt, seed)
        yield Case(asked, _has_colour(result, box, asked), _is_kept(picture, result, box))


def _box(x: int, y: int) -> tuple[int, int, int, int]:
    half = HOLE // 2
    left, top = (min(max(side - half, 0), IMAGE_SIZE - HOLE) for side in (x, y))
    return left, top, left + HOLE, top + HOLE


def _mask(box: tuple[int, int, int, int]) -> Image.Image:
    """As OpenAI's: what is transparent is to be drawn anew."""
    mask = Image.new("RGBA", (IMAGE_SIZE, IMAGE_SIZE), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), box)
    return mask


def _inpainted(
    client: httpx.Client,
    model: str,
    picture: Image.Image,
    mask: Image.Image,
    prompt: str,
    seed: int,
) -> Image.Image:
    answer = client.post(
        "/v1/images/edits",
        data={
            "model": model,
            "prompt": prompt,
            "seed": seed,
            "steps": STEPS,
            "guidance_scale": GUIDANCE,
        },
        files={"image": ("a.png", _png(picture)), "mask": ("b.png", _png(mask))},
    ).raise_for_status()
    return Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"])))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _has_colour(result: Image.Image, box: tuple[int, int, int, int], asked: str) -> bool:
    index = colour_index(result.crop(box))
    return bool((index == list(COLOURS).index(asked)).mean() >= LEAST_SHARE)


def _is_kept(picture: Image.Image, result: Image.Image, box: tuple[int, int, int, int]) -> bool:
    before, after = (np.asarray(image.convert("RGB")).copy() for image in (picture, result))
    left, top, right, bottom = box
    for pixels in (before, after):
        pixels[top:bottom, left:right] = 0
    return bool(np.array_equal(before, after))
