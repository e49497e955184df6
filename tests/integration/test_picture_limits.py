"""What a request for pictures may ask for at most, and what odd sizes and texts come to."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from tests.support.editing import (
    EDITS,
    QUICK,
    data_url,
    drawn,
    edit,
    noise,
    photo,
    refusal,
    vary,
    with_hole,
)
from tests.support.pictures import picture
from tests.support.server import Server
from tests.unit.imaging.files import file_of, png

LONG_SIDE = (16_400, 200)
CORNER = (0, 0, 50, 50)
MIB = 1024 * 1024
# Numbers as JSON has them, and some as it should not.
NUMBERS = ("NaN", "Infinity", "-Infinity", "1e400", "-1", "99999999999999999999999", '"x"', "[]")
FIELDS = (
    "strength",
    "guidance_scale",
    "steps",
    "seed",
    "n",
    "feather",
    "clip_skip",
    "output_compression",
    "partial_images",
    "timeout_s",
)


def test_an_answer_has_so_many_pixels_at_most(drawing: httpx.Client) -> None:
    side = 2300
    image = file_of(Image.new("RGB", (side, side)))
    mask = with_hole((side, side), CORNER)
    param, message = refusal(edit(drawing, image, mask, n=10, size="64x64"))
    assert param == "n"
    assert "10 pictures of 2300x2300" in message
    assert "ask for 9 at most" in message
    # What keeps nothing of the picture has no such size.
    answer = edit(drawing, image, mask, n=10, size="64x64", steps=1, preserve_unmasked=False)
    assert len(drawn(answer)) == 10


def test_enlarged_pictures_count_as_large_as_they_get(drawing: httpx.Client) -> None:
    body = QUICK | {"image": data_url(file_of(Image.new("RGB", (1000, 1000)))), "strength": 1}
    answer = drawing.post("/v1/tasks/upscale", json=body | {"scale": 4, "n": 4})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "n"


@pytest.mark.parametrize(("size", "output_format"), [(LONG_SIDE, "webp"), ((700, 66_000), "jpeg")])
def test_a_picture_too_long_for_its_format_is_refused(
    drawing: httpx.Client, size: tuple[int, int], output_format: str
) -> None:
    """By its header: there are no pixels in it."""
    answer = edit(drawing, png(size, 8, 2), with_hole(), output_format=output_format)
    param, message = refusal(answer)
    assert param == "output_format"
    assert "take png" in message


def test_a_long_picture_keeps_its_size_as_png(drawing: httpx.Client) -> None:
    image = file_of(Image.new("RGB", LONG_SIDE, "red"))
    (values,) = drawn(edit(drawing, image, with_hole(LONG_SIDE, CORNER)))
    assert values.shape == (200, 16_400, 3)
    assert (values[:, 50:] == (255, 0, 0)).all()


@pytest.mark.parametrize("feather", [0, 256])
def test_a_rim_of_any_width_stays_inside_the_mask(drawing: httpx.Client, feather: int) -> None:
    side, box = 1000, (100, 100, 900, 900)
    image = noise(side)
    values = drawn(edit(drawing, image, with_hole((side, side), box), feather=feather, steps=1))[0]
    original = np.asarray(Image.open(io.BytesIO(image)))
    values, original = values.copy(), original.copy()
    values[100:900, 100:900] = original[100:900, 100:900] = 0
    assert (values == original).all()


@pytest.mark.parametrize(
    ("output_format", "letter"),
    [("png", "\0"), ("jpeg", "🟥"), ("webp", "é "), ("png", "(("), ("jpeg", "]")],
)
def test_the_longest_prompts_are_drawn_in_every_format(
    drawing: httpx.Client, output_format: str, letter: str
) -> None:
    text = (letter * 10_000)[:10_000]
    body = QUICK | {"prompt": text, "negative_prompt": text[::-1], "image": data_url(photo())}
    answer = drawing.post(EDITS, json=body | {"output_format": output_format})
    assert picture(answer.json()["data"][0]["b64_json"]).format == output_format.upper()


def test_longer_ones_are_refused(drawing: httpx.Client) -> None:
    assert refusal(edit(drawing, photo(), prompt="a" * 10_001))[0] == "prompt"
    assert refusal(vary(drawing, photo(), prompt="a" * 10_001))[0] == "prompt"
    param, message = refusal(edit(drawing, photo(), prompt="(a:99)"))
    assert (param, "most is 10" in message) == ("prompt", True)


@pytest.mark.parametrize("field", FIELDS)
def test_no_number_but_a_fitting_one_is_taken(drawing: httpx.Client, field: str) -> None:
    given = {**QUICK, "image": data_url(photo()), "mask": data_url(with_hole())}
    given.pop(field, None)
    body = ", ".join(f'"{name}": {_json(value)}' for name, value in given.items())
    for number in NUMBERS:
        sent = f'{{{body}, "{field}": {number}}}'
        headers = {"Content-Type": "application/json"}
        answer = drawing.post(EDITS, content=sent, headers=headers)
        assert refusal(answer)[0] == field, number
        text = number.strip('"')
        assert refusal(edit(drawing, photo(), with_hole(), **{field: text}))[0] == field, number


def test_many_large_edits_leave_no_memory_behind(
    picture_server: Server, drawing: httpx.Client
) -> None:
    side = 600
    image, mask = noise(side), with_hole((side, side), (100, 100, 500, 500))

    def some() -> None:
        with ThreadPoolExecutor(4) as pool:
            asked = [
                pool.submit(edit, drawing, image, mask, size="64x64", n=2, seed=seed)
                for seed in range(8)
            ]
        assert all(len(drawn(one.result())) == 2 for one in asked)

    some()
    sizes = [_resident(picture_server)]
    for _ in range(3):
        some()
        sizes.append(_resident(picture_server))
    # Eight requests each time, of each of which some 5 MB came in or went out. What an allocator
    # keeps for later it does not keep anew every time; what is forgotten, it is.
    for process in zip(*sizes, strict=True):
        grown = [after - before for before, after in pairwise(process)]
        assert min(grown) < 20 * MIB, grown


def _resident(server: Server) -> list[int]:
    """Memory of the gateway and of the worker, in bytes."""
    processes = [psutil.Process(server.process.pid), server.worker()]
    return [process.memory_info().rss for process in processes]


def _json(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
