"""Several clients and the real model: pictures that are drawn together, alone, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.asking import (
    Background,
    ask_and_wait,
    refusal,
    running_requests,
    running_task,
    wait_for_state,
)
from tests.support.pictures import apart, pixels
from tests.support.server import wait_for

MODEL = "onebox-shapes"
TASK = "text-to-image"
SETTINGS = {"model": MODEL, "steps": 8}
WANTED = [
    {"prompt": "a red circle on a blue background", "seed": 1},
    {"prompt": "a green star on a white background", "seed": 2},
    {"prompt": "a yellow square on a black background", "seed": 3},
    {"prompt": "a blue ring on a yellow background", "seed": 4},
]
# Far longer than the others need to queue up behind it; nothing is drawn with it.
LONG = {"model": MODEL, "prompt": "a white circle", "steps": 150, "n": 10}


@pytest.fixture
def in_background() -> Iterator[Background]:
    with ThreadPoolExecutor(16) as pool:
        yield pool.submit


def drawn(answer: httpx.Response) -> list[np.ndarray]:
    assert answer.status_code == 200, answer.text
    return [pixels(output["b64_json"]) for output in answer.json()["outputs"]]


def draw(client: httpx.Client, **body: Any) -> np.ndarray:
    (image,) = drawn(client.post(f"/v1/tasks/{TASK}", json={**SETTINGS, **body}))
    return image


def ask(
    client: httpx.Client, in_background: Background, request_id: str, **body: Any
) -> Future[httpx.Response]:
    return ask_and_wait(in_background, client, request_id, task=TASK, **{**SETTINGS, **body})


def test_pictures_drawn_together_look_as_if_drawn_alone(
    client: httpx.Client, in_background: Background
) -> None:
    alone = [draw(client, **wanted) for wanted in WANTED]
    # What is one's own is told from what is another's.
    assert apart(alone[0], alone[1]) > 10
    with running_task(client, TASK, **LONG):
        asked = [
            ask(client, in_background, f"picture-{wanted['seed']}", **wanted) for wanted in WANTED
        ]

    def together() -> bool:
        states = [request["state"] for request in running_requests(client).values()]
        return states.count("running") == len(WANTED)

    wait_for(together)
    for one, answer in zip(alone, asked, strict=True):
        (other,) = drawn(answer.result(120))
        assert apart(one, other) < 0.01


def test_a_deterministic_picture_is_the_same_to_the_bit_alone_and_under_load(
    client: httpx.Client, in_background: Background
) -> None:
    exact = {**WANTED[0], "deterministic": True}
    alone = draw(client, **{**exact, "seed": 7})
    with running_task(client, TASK, **LONG):
        crowd = [ask(client, in_background, f"crowd-{w['seed']}", **w) for w in WANTED]
        single = ask(client, in_background, "single", **{**exact, "seed": 7})
        several = ask(client, in_background, "several", **{**exact, "seed": 5, "n": 3})
        mixed = ask(client, in_background, "mixed", **WANTED[1])
    (one,) = drawn(single.result(120))
    assert np.array_equal(one, alone)
    first, second, third = drawn(several.result(120))
    assert np.array_equal(third, alone)
    assert not np.array_equal(first, second)
    assert {answer.result(120).status_code for answer in (*crowd, mixed)} == {200}


def test_a_picture_that_lets_others_go_first_comes_out_the_same_to_the_bit(
    client: httpx.Client, in_background: Background
) -> None:
    """The others are drawn with the same weights, between its steps."""
    exact = {**WANTED[0], "deterministic": True, "steps": 60}
    alone, other = draw(client, **exact), draw(client, **WANTED[1])
    job = ask(client, in_background, "job", state="running", priority="batch", **exact)
    for _ in range(3):
        assert apart(draw(client, **WANTED[1]), other) < 0.01
    assert running_requests(client)["job"]["state"] == "running"
    (one,) = drawn(job.result(120))
    assert np.array_equal(one, alone)


def test_a_picture_is_cancelled_by_the_id_of_infer(
    client: httpx.Client, in_background: Background
) -> None:
    body = {
        "id": "my-picture",
        "model_id": MODEL,
        "prompt": "a red circle",
        "num_inference_steps": 150,
        "num_images": 4,
        "width": 512,
        "height": 512,
    }
    asked = in_background(client.post, "/v1/infer", json=body)
    wait_for(lambda: wait_for_state(client, "my-picture", "running")["step"] > 0)
    again = client.post("/v1/infer", json={**body, "num_inference_steps": 1})
    assert refusal(again) == (409, "request_id_taken")
    assert client.post("/v1/requests/my-picture/cancel").status_code == 200
    assert refusal(asked.result(120)) == (499, "cancelled")
    assert draw(client, **WANTED[0]).shape == (256, 256, 3)


def test_the_working_memory_of_a_picture_is_measured(client: httpx.Client) -> None:
    body = {"prompt": "a red circle", "width": 320, "height": 256, "steps": 1}

    def reserve() -> dict[str, Any]:
        query = {"task": TASK, **body}
        (device,) = client.get(f"/v1/models/{MODEL}/memory", params=query).json()["devices"]
        return dict(device["reserve"])

    before = reserve()
    assert before["size_class"] == "320x256x1"
    assert before["expected_bytes"] == before["estimate_bytes"] > 0
    assert before["measured_bytes"] is None

    def measured() -> int | None:
        assert draw(client, **body).shape == (256, 320, 3)
        size_bytes: int | None = reserve()["measured_bytes"]
        return size_bytes

    taken = wait_for(measured)
    # Activations of the decoder alone are some hundred bytes a pixel.
    assert 320 * 256 * 100 < taken < 4 * before["estimate_bytes"]
    assert reserve()["expected_bytes"] == int(taken * 1.1)
