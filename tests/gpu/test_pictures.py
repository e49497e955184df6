"""Pictures on a card, through HTTP: the same again, in any company, however the weights lie."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.asking import device_state, running_requests, wait_for_state
from tests.support.drawing import SMALL, TASK
from tests.support.drawing import drawn as exactly
from tests.support.pictures import apart, pixels
from tests.support.server import ADMIN_KEY, Server, wait_for

MIB = 1024**2
ENDLESS = {"model": "plain", **SMALL, "steps": 150, "n": 10, "width": 128, "height": 128}
# Mean differences of values from 0 to 255, in full precision; convolutions may round to ten bits.
ROUNDING = 0.5
# Of decoding in tiles, and of weights in 8 and in 4 bits, of random ones.
SEAMS = 8.0
COARSE = 20.0


def drawn(client: httpx.Client, model: str, **fields: Any) -> list[np.ndarray]:
    answer = client.post(TASK, json={"model": model, **SMALL, **fields}, timeout=900)
    assert answer.status_code == 200, answer.text
    return [pixels(output["b64_json"]) for output in answer.json()["outputs"]]


def test_the_status_names_the_card(client: httpx.Client, card: str, kind: str) -> None:
    drawn(client, "usual")
    told = device_state(client)
    assert (told["device"], told["state"]) == (card, "ready")
    assert told["kind"] in ((kind, "rocm") if kind == "cuda" else (kind,))
    assert told["name"]
    assert told["dtype"] in ("bfloat16", "float16", "float32")
    assert 0 < told["pool"]["used_bytes"] <= told["pool"]["budget_bytes"]
    assert "usual" in {bundle["name"] for bundle in told["bundles"]}


@pytest.mark.parametrize("model", ["usual", "plain"])
def test_a_seed_gives_the_same_picture_again(client: httpx.Client, model: str) -> None:
    assert apart(drawn(client, model)[0], drawn(client, model)[0]) <= ROUNDING
    assert not np.array_equal(drawn(client, model, seed=4)[0], drawn(client, model)[0])


def test_a_seed_gives_the_same_picture_alone_and_among_others(client: httpx.Client) -> None:
    together = drawn(client, "plain", n=4)
    for number, picture in enumerate(together):
        (alone,) = drawn(client, "plain", seed=SMALL["seed"] + number)
        assert apart(picture, alone) <= ROUNDING


def test_deterministic_pictures_are_the_same_bit_for_bit_under_load(client: httpx.Client) -> None:
    alone = exactly(client, "usual")
    with ThreadPoolExecutor(6) as pool:
        others = [pool.submit(drawn, client, "usual", seed=seed) for seed in range(3)]
        same = [pool.submit(exactly, client, "usual") for _ in range(3)]
        assert {each.result() for each in same} == {alone}
        assert all(other.result() for other in others)


@pytest.mark.parametrize(
    ("way", "most"),
    [("cpu_offload", ROUNDING), ("sequential_offload", ROUNDING), ("vae_tiling", SEAMS)],
)
def test_weights_that_share_memory_otherwise_draw_the_same_again_and_again(
    client: httpx.Client, way: str, most: float
) -> None:
    for seed in (3, 4):
        (wanted,) = drawn(client, "plain", seed=seed)
        for _ in range(2):
            assert apart(drawn(client, way, seed=seed)[0], wanted) <= most


def test_offloaded_weights_take_less_of_the_card(client: httpx.Client, kind: str) -> None:
    if kind in ("cpu", "mps"):
        pytest.skip("weights are offloaded from memory of a card's own only")
    for way in ("plain", "cpu_offload", "sequential_offload"):
        drawn(client, way)
    sizes = {bundle["name"]: bundle["size_bytes"] for bundle in device_state(client)["bundles"]}
    assert sizes["sequential_offload"] < sizes["cpu_offload"] < sizes["plain"]


@pytest.mark.parametrize("way", ["fp8", "4bit", "8bit"])
def test_small_weights_draw_nearly_the_same(client: httpx.Client, kind: str, way: str) -> None:
    if way != "fp8" and (kind != "cuda" or importlib.util.find_spec("bitsandbytes") is None):
        pytest.skip("needs CUDA and bitsandbytes: pip install 'onebox[bnb]'")
    difference = apart(drawn(client, way)[0], drawn(client, "plain")[0])
    assert 0 < difference < COARSE


def test_a_compiled_denoiser_draws_the_same_in_any_size_and_company(
    server: Server, client: httpx.Client, kind: str
) -> None:
    if kind == "mps":
        pytest.skip("compile is for the CPU and CUDA")
    for asked in ({}, {"width": 96, "n": 3}, {"deterministic": True}, {"height": 128}):
        pairs = zip(
            drawn(client, "compiled", **asked), drawn(client, "plain", **asked), strict=True
        )
        assert all(apart(one, other) <= ROUNDING for one, other in pairs)
    assert list((server.data_dir / "compiled").iterdir())


def test_a_cancel_gives_the_memory_back(server: Server, client: httpx.Client, kind: str) -> None:
    drawn(client, "plain")
    before = device_state(client)["device_used_bytes"]
    with ThreadPoolExecutor(1) as pool:
        named = {"X-Request-ID": "endless"}
        running = pool.submit(client.post, TASK, json=ENDLESS, headers=named)
        wait_for_state(client, "endless", "running")
        wait_for(lambda: running_requests(client)["endless"]["step"])
        assert client.post("/v1/requests/endless/cancel").status_code == 200
        assert running.result(60).status_code == 499
    wait_for(lambda: not running_requests(client))
    wait_for(lambda: not any(bundle["leases"] for bundle in device_state(client)["bundles"]))
    with server.client(ADMIN_KEY) as admin:
        assert admin.post("/v1/models/plain/unload").status_code == 200
    if kind != "cpu":  # The host's memory is everybody's.
        wait_for(lambda: device_state(client)["device_used_bytes"] <= before + 64 * MIB)
    drawn(client, "plain")
