"""Pictures under load: whatever else the server draws, each is the one that was asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.asking import Background, events_of, running_task, wait_for_state
from tests.support.editing import (
    EDITS,
    QUICK,
    VARIATIONS,
    data_url,
    drawn,
    edit,
    photo,
    refusal,
    vary,
    with_hole,
)
from tests.support.pictures import pixels

IMAGE, MASK = photo(), with_hole()
# Long enough for others to come in the middle, and to need seconds if they had to wait for it.
LONG = {**QUICK, "steps": 150, "strength": 1, "width": 128, "height": 128, "n": 4}
Asked = Callable[..., list[np.ndarray]]


def masked(client: httpx.Client, **fields: Any) -> list[np.ndarray]:
    return drawn(edit(client, IMAGE, MASK, **fields))


def redrawn(client: httpx.Client, **fields: Any) -> list[np.ndarray]:
    return drawn(edit(client, IMAGE, **fields))


def varied(client: httpx.Client, **fields: Any) -> list[np.ndarray]:
    return drawn(vary(client, IMAGE, **fields))


def generated(client: httpx.Client, **fields: Any) -> list[np.ndarray]:
    body = QUICK | {"size": "64x64"} | fields
    return drawn(client.post("/v1/images/generations", json=body))


def streamed(client: httpx.Client, mask: bytes | None, **fields: Any) -> list[dict[str, Any]]:
    answer = edit(client, IMAGE, mask, stream="true", **fields)
    assert answer.status_code == 200, answer.text
    return [event.data for event in events_of(answer.text.splitlines())]


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal but for rounding: others in a batch make blocks of another shape."""
    return int(np.abs(one.astype(int) - other.astype(int)).max()) <= 2


@pytest.fixture
def busy(drawing: httpx.Client) -> Iterator[httpx.Client]:
    """With a long request of the lowest priority under way."""
    body = LONG | {"image": data_url(IMAGE), "priority": "batch", "scheduler": "euler_a"}
    with running_task(drawing, "variations", **body):
        yield drawing


@pytest.mark.parametrize("ask", [masked, redrawn, varied, generated])
def test_picture_i_of_n_is_the_one_that_its_seed_gives_alone(
    drawing: httpx.Client, ask: Asked
) -> None:
    several = ask(drawing, n=3)
    alone = [ask(drawing, seed=5 + number)[0] for number in range(3)]
    assert all(map(alike, several, alone))
    assert not alike(alone[0], alone[1])


@pytest.mark.parametrize("mask", [MASK, None])
def test_streamed_pictures_are_those_of_their_seeds_too(
    drawing: httpx.Client, mask: bytes | None
) -> None:
    plain = drawn(edit(drawing, IMAGE, mask, n=3, steps=6))
    events = streamed(drawing, mask, n=3, steps=6, partial_images=2)
    ends = [event for event in events if event["type"] == "image_edit.completed"]
    assert [end["seed"] for end in ends] == [5, 6, 7]
    assert all(alike(pixels(end["b64_json"]), one) for end, one in zip(ends, plain, strict=True))
    assert len(events) == 3 + 3 * 2


@pytest.mark.parametrize("ask", [masked, redrawn, varied, generated])
def test_deterministic_pictures_are_the_same_bits_in_a_crowd(
    drawing: httpx.Client, in_background: Background, ask: Asked
) -> None:
    (alone,) = ask(drawing, deterministic=True)
    crowd = [in_background(ask, drawing, seed=seed, n=1 + seed % 3) for seed in range(10, 16)]
    among = [in_background(ask, drawing, deterministic=True, n=n) for n in (1, 2, 1)]
    assert all((one.result()[0] == alone).all() for one in among)
    assert all(one.result() for one in crowd)


def test_urgent_requests_are_drawn_in_the_middle_of_a_long_one_and_change_nothing(
    drawing: httpx.Client, in_background: Background
) -> None:
    long = {"steps": 150, "size": "96x80", "scheduler": "euler_a", "deterministic": True}
    (expected,) = masked(drawing, **long)
    others: list[Callable[[], list[np.ndarray]]] = [
        functools.partial(masked, drawing, scheduler="ddim", seed=11),
        functools.partial(varied, drawing, scheduler="dpmpp_2m_karras", steps=3),
        functools.partial(generated, drawing, scheduler="unipc"),
        functools.partial(redrawn, drawing, deterministic=True),
    ]
    alone = [ask()[0] for ask in others]
    asked = in_background(
        drawing.post,
        EDITS,
        data={name: str(value) for name, value in (QUICK | long | {"priority": "batch"}).items()},
        files={"image": IMAGE, "mask": MASK},
        headers={"X-Request-ID": "long"},
    )
    wait_for_state(drawing, "long", "running")
    among = [ask()[0] for ask in others]
    assert not asked.done()
    assert all(map(alike, among, alone))
    assert (drawn(asked.result())[0] == expected).all()


def test_a_bad_picture_fails_its_own_request_alone(
    busy: httpx.Client, in_background: Background
) -> None:
    """All are alike enough for one batch."""
    wanted = {seed: in_background(masked, busy, seed=seed) for seed in (21, 22)}
    cut_short = in_background(edit, busy, IMAGE[:-60], MASK, seed=23)
    no_alpha = in_background(edit, busy, IMAGE, IMAGE, seed=24)
    wanted |= {seed: in_background(masked, busy, seed=seed) for seed in (25, 26)}
    assert refusal(cut_short.result())[0] == "image"
    assert refusal(no_alpha.result())[0] == "mask"
    for seed, asked in wanted.items():
        assert alike(asked.result()[0], masked(busy, seed=seed)[0])


@pytest.mark.parametrize("masks", [{"mask": data_url(MASK)}, {}])
def test_json_and_a_form_are_the_same_request(drawing: httpx.Client, masks: dict[str, str]) -> None:
    (expected,) = drawn(edit(drawing, IMAGE, MASK if masks else None))
    url = data_url(IMAGE)
    for image in ({"image": url}, {"image": [url]}, {"images": [{"image_url": url}]}):
        (values,) = drawn(drawing.post(EDITS, json=QUICK | masks | image))
        assert (values == expected).all()


def test_variations_of_json_and_of_a_form_are_the_same(drawing: httpx.Client) -> None:
    body = {**QUICK, "image": data_url(IMAGE)}
    (values,) = drawn(drawing.post(VARIATIONS, json=body))
    assert (values == varied(drawing)[0]).all()
