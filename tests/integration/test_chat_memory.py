"""Texts that do not fit into memory together, and models that do not: all get their turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.families.tiny_language_models import attentive, save
from tests.support.asking import Background, device_state
from tests.support.server import Server, running_server, wait_for
from tests.support.talking import (
    CHAT,
    ONE_THREAD,
    ask,
    body,
    content,
    refused,
    wait_until_idle,
)

KIB = 1024
# Of the budget a model's weights take some 460 KiB, and a step 33,008. A token's keys and values
# take 1 KiB, and memory for them comes in steps of 256, 512 and 1024 tokens.
BUDGET_KIB = 34_700
BOTH_KIB = 67_600
MODELS = ("llama", "other")
HEADS = {"num_key_value_heads": 4, "max_position_embeddings": 4096}
LONG = {"max_tokens": 300, "deterministic": True}


@pytest.fixture(scope="module")
def memory_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(MODELS):
        save(folder / name, attentive(**HEADS), seed)
        (folder / name / "onebox.toml").write_text('dtype = "float32"\n')
    return folder


@pytest.fixture(scope="module")
def short(memory_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with running_server(
        data_dir,
        memory_models,
        **ONE_THREAD,
        ONEBOX_MEMORY_BUDGET=f"{BUDGET_KIB}KiB",
        ONEBOX_LEASE_TIMEOUT="12",
    ) as running:
        yield running


@pytest.fixture
def chat(short: Server) -> Iterator[httpx.Client]:
    with short.client() as client:
        yield client
        wait_until_idle(client)


def paused(server: Server) -> int:
    return sum('"event":"paused"' in line for line in server.log())


def loaded(chat: httpx.Client) -> set[str]:
    return {one["name"] for one in device_state(chat)["bundles"] if one["state"] == "ready"}


def test_texts_that_do_not_fit_together_are_paused_and_all_come_out_right(
    short: Server, chat: httpx.Client, in_background: Background
) -> None:
    alone = [content(chat, **LONG, seed=seed) for seed in range(6)]
    before = paused(short)
    together = [in_background(content, chat, **LONG, seed=seed) for seed in range(6)]
    assert [one.result(120) for one in together] == alone
    assert paused(short) > before


def test_choices_of_one_request_are_paused_too(short: Server, chat: httpx.Client) -> None:
    before = paused(short)
    answer = ask(chat, n=6, max_tokens=400)
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["length"] * 6
    assert answer["usage"]["completion_tokens"] == 6 * 400
    assert paused(short) > before


def test_a_prompt_that_never_fits_is_refused_with_both_numbers(chat: httpx.Client) -> None:
    long = [{"role": "user", "content": "x" * 2000}]
    answer = chat.post(CHAT, json=body(messages=long))
    assert refused(answer)[::2] == (507, "model_too_large")
    details = answer.json()["error"]["details"]
    assert details["needed_bytes"] > details["budget_bytes"] > 0
    assert str(details["needed_bytes"]) in answer.json()["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"


def test_prompts_that_are_kept_give_way(chat: httpx.Client) -> None:
    """Each of them leaves more behind than the next one finds free."""
    for number in range(8):
        messages = [{"role": "user", "content": f"{number} " * 150}]
        assert ask(chat, messages=messages)["choices"]
    again = ask(chat, messages=messages)["usage"]
    assert again["prompt_tokens_details"]["cached_tokens"] > 0
    assert device_state(chat)["bundles"][0]["size_bytes"] <= BUDGET_KIB * KIB


def test_another_model_is_loaded_where_an_idle_one_keeps_prompts(chat: httpx.Client) -> None:
    for number in range(8):
        ask(chat, messages=[{"role": "user", "content": f"{number} " * 150}])
    wait_until_idle(chat)
    assert content(chat, model="other")
    wait_for(lambda: "other" in loaded(chat))
    assert content(chat)


def test_two_busy_models_that_do_not_fit_take_turns(
    chat: httpx.Client, in_background: Background
) -> None:
    asked = [{**LONG, "model": model, "seed": seed} for seed in (0, 1) for model in MODELS]
    alone = [content(chat, **fields) for fields in asked]
    together = [in_background(content, chat, **fields) for fields in asked]
    assert [one.result(120) for one in together] == alone


def test_a_model_that_is_asked_all_the_time_lets_another_one_in(
    chat: httpx.Client, in_background: Background
) -> None:
    served = threading.Event()

    def keep_asking() -> set[int]:
        statuses = set()
        while not served.is_set():
            statuses.add(chat.post(CHAT, json=body(max_tokens=100)).status_code)
        return statuses

    asking = [in_background(keep_asking) for _ in range(3)]
    try:
        wait_for(lambda: "llama" in loaded(chat))
        assert content(chat, model="other")
    finally:
        served.set()
    assert [one.result(120) for one in asking] == [{200}] * 3


def test_a_text_that_has_outgrown_all_memory_ends_and_others_are_written(
    chat: httpx.Client,
) -> None:
    answer = chat.post(CHAT, json=body(max_tokens=4000))
    assert refused(answer)[::2] == (503, "insufficient_memory")
    assert answer.json()["error"]["details"]["tokens"] > 512
    assert content(chat, model="other")


def test_two_models_that_fit_share_what_is_left_for_their_texts(
    memory_models: Path, tmp_path: Path, in_background: Background
) -> None:
    """Either of them alone finds room; together they let go of theirs in turns."""
    budget = f"{BOTH_KIB}KiB"
    with (
        running_server(
            tmp_path / "data", memory_models, **ONE_THREAD, ONEBOX_MEMORY_BUDGET=budget
        ) as own,
        own.client() as chat,
    ):
        for model in MODELS:
            assert content(chat, model=model)
        assert loaded(chat) == set(MODELS)
        asked = [{"model": model, "seed": seed} for seed in range(3) for model in MODELS]
        together = [in_background(ask, chat, **fields, max_tokens=300) for fields in asked]
        used = [one.result(120)["usage"]["completion_tokens"] for one in together]
        assert used == [300] * len(asked)
        assert any("waits_for_room" in line for line in own.log())
        assert loaded(chat) == set(MODELS)
