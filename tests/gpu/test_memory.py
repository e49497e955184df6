"""A card whose memory is too small for what is asked: everybody gets an answer, and it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.families.tiny_language_models import attentive, save
from tests.families.tiny_models import stable_diffusion
from tests.support.asking import device_state, output, refusal
from tests.support.drawing import SMALL, TASK
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import Server, running_server, wait_for
from tests.support.talking import content

# Each has 109 MiB of weights, and a step takes some 33 MiB.
TALKERS = ("one", "two")
WIDE = {"hidden_size": 512, "intermediate_size": 8192, "dtype": "float32"}
BUDGET = "200MiB"
PLUGINS = {"ONEBOX_PLUGINS": "tests.support.dummy_plugin,tests.support.card_plugin"}


@pytest.fixture(scope="module")
def small(card: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("small")
    for seed, name in enumerate(TALKERS):
        save(folder / name, attentive(**WIDE), seed)
        (folder / name / "onebox.toml").write_text('dtype = "float32"\n')
    stable_diffusion(folder / "tiny")
    dummy_checkpoint(folder / "greedy")
    data_dir: Path = tmp_path_factory.mktemp("server") / "data"
    settings = {"ONEBOX_DEVICE": card, "ONEBOX_MEMORY_BUDGET": BUDGET, **PLUGINS}
    with running_server(data_dir, folder, **settings) as running:
        yield running


@pytest.fixture
def client(small: Server) -> Iterator[httpx.Client]:
    """Whatever a test does, the worker lives on, and nothing stays in use."""
    worker = small.worker().pid
    with small.client() as client:
        yield client
        assert content(client, model="one")
        wait_for(lambda: not any(bundle["leases"] for bundle in device_state(client)["bundles"]))
    assert small.worker().pid == worker


def loaded(client: httpx.Client) -> set[str]:
    return {bundle["name"] for bundle in device_state(client)["bundles"]}


def seize(client: httpx.Client, **shares: Any) -> httpx.Response:
    return client.post("/v1/tasks/seize", json={"model": "greedy", **shares})


def test_of_two_models_that_do_not_fit_together_the_idle_one_goes(client: httpx.Client) -> None:
    wanted = {name: content(client, model=name) for name in TALKERS}
    for name, other in (TALKERS, TALKERS[::-1], TALKERS):
        assert content(client, model=name) == wanted[name]
        wait_for(lambda gone=other: gone not in loaded(client))
        state = device_state(client)["pool"]
        assert state["used_bytes"] <= state["budget_bytes"]


def test_both_are_answered_under_load(client: httpx.Client) -> None:
    wanted = {name: content(client, model=name, deterministic=True) for name in TALKERS}
    with ThreadPoolExecutor(8) as pool:
        asked = [
            (name, pool.submit(content, client, model=name, deterministic=True))
            for name in TALKERS * 4
        ]
        assert all(text.result() == wanted[name] for name, text in asked)


def test_what_can_never_fit_is_refused_with_both_numbers(client: httpx.Client) -> None:
    huge = {"model": "tiny", **SMALL, "width": 2048, "height": 2048}
    answer = client.post(TASK, json=huge)
    assert refusal(answer) == (507, "model_too_large")
    details = answer.json()["error"]["details"]
    assert details["needed_bytes"] > details["budget_bytes"]
    assert client.post(TASK, json={"model": "tiny", **SMALL}).status_code == 200


def test_when_the_card_itself_runs_out_it_is_tried_leaner(client: httpx.Client, kind: str) -> None:
    _needs_an_allocator_that_says_so(kind)
    assert output(seize(client, share=0.001)) == {"lean": False}
    assert output(seize(client, share=2.0, lean_share=0.001)) == {"lean": True}


def test_when_that_fails_too_there_is_one_clean_answer(client: httpx.Client, kind: str) -> None:
    _needs_an_allocator_that_says_so(kind)
    before = device_state(client)["device_used_bytes"]
    for _ in range(3):
        assert refusal(seize(client, share=2.0)) == (503, "insufficient_memory")
    assert output(seize(client, share=0.001)) == {"lean": False}
    if kind != "cpu":  # The host's memory is everybody's.
        wait_for(lambda: device_state(client)["device_used_bytes"] <= before + 64 * 1024**2)


def _needs_an_allocator_that_says_so(kind: str) -> None:
    if kind == "mps":
        pytest.skip("MPS refuses a tensor of that size before it looks for memory")
