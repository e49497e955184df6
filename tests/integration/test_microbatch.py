"""Requests that may be merged run as one, within limits, and none of them pays for another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.conftest import MIB
from tests.support.asking import (
    Background,
    ask_and_wait,
    holding,
    nobody_waits,
    output,
    refusal,
    running_requests,
    wait_for_state,
)
from tests.support.server import Server, wait_for

MODEL = "batched"


@pytest.fixture
def client(small: Server) -> Iterator[httpx.Client]:
    with small.client() as client:
        yield client


def ask_behind_one(
    client: httpx.Client, in_background: Background, bodies: dict[str, dict[str, Any]]
) -> dict[str, httpx.Response]:
    """Let requests gather while another one runs. Gives the answer of each text."""
    with holding(client, MODEL):
        asked = {
            text: ask_and_wait(
                in_background, client, text, task="together", model=MODEL, text=text, **body
            )
            for text, body in bodies.items()
        }
    return {text: answer.result(120) for text, answer in asked.items()}


def batches(answers: dict[str, httpx.Response]) -> list[list[str]]:
    """Which texts ran together, in the order of the runs."""
    told = [output(answer) for answer in answers.values()]
    by_run = {one["run"]: one["with"] for one in told}
    assert all(one["text"] in one["with"] for one in told)
    return [by_run[run] for run in sorted(by_run)]


def test_requests_of_one_shape_run_as_one(client: httpx.Client, in_background: Background) -> None:
    answers = ask_behind_one(client, in_background, {"a": {}, "b": {}, "c": {}, "d": {}})
    assert batches(answers) == [["a", "b", "c", "d"]]


def test_requests_of_other_shapes_do_not(client: httpx.Client, in_background: Background) -> None:
    bodies = {"a": {"shape": 1}, "b": {"shape": 2}, "c": {"shape": 1}}
    assert batches(ask_behind_one(client, in_background, bodies)) == [["a", "c"], ["b"]]


def test_no_more_items_than_the_task_allows(
    client: httpx.Client, in_background: Background
) -> None:
    bodies = {"a": {"items": 2}, "b": {"items": 3}, "c": {"items": 1}, "d": {}, "e": {}}
    assert batches(ask_behind_one(client, in_background, bodies)) == [["a", "c", "d"], ["b", "e"]]


def test_no_more_working_memory_than_there_is(
    client: httpx.Client, in_background: Background
) -> None:
    bodies = {name: {"work_bytes": 45 * MIB} for name in "abc"}
    assert batches(ask_behind_one(client, in_background, bodies)) == [["a", "b"], ["c"]]


def test_one_that_breaks_its_batch_fails_alone(
    client: httpx.Client, in_background: Background
) -> None:
    answers = ask_behind_one(client, in_background, {"a": {}, "poison": {}, "b": {}, "c": {}})
    assert refusal(answers.pop("poison")) == (500, "inference_failed")
    assert sorted(text for batch in batches(answers) for text in batch) == ["a", "b", "c"]


@pytest.mark.parametrize("how", ["by its id", "by leaving"])
def test_one_that_is_cancelled_leaves_the_others_alone(
    small: Server, client: httpx.Client, in_background: Background, tmp_path: Path, how: str
) -> None:
    cue = tmp_path / "cue"
    body = {"model": MODEL, "cue": str(cue)}
    with contextlib.ExitStack() as until_it_leaves:
        with holding(client, MODEL):
            leaver = nobody_waits(small, "together", "leaver", text="leaver", **body)
            until_it_leaves.enter_context(leaver)
            wait_for_state(client, "leaver", "queued")
            asked = [
                ask_and_wait(in_background, client, text, task="together", text=text, **body)
                for text in "ab"
            ]
        wait_for_state(client, "leaver", "running")
        if how == "by its id":
            assert client.post("/v1/requests/leaver/cancel").json()["requests"] == 1
            wait_for(lambda: "leaver" not in running_requests(client))
    wait_for(lambda: "leaver" not in running_requests(client))
    assert {"a", "b"} <= set(running_requests(client))
    cue.touch()
    told = [output(answer.result(120)) for answer in asked]
    assert [one["text"] for one in told] == ["a", "b"]
    # It was one of them until then.
    assert all(set(one["with"]) == {"leaver", "a", "b"} for one in told)


def test_a_lone_request_starts_at_once(client: httpx.Client, in_background: Background) -> None:
    ask_behind_one(client, in_background, {"a": {}, "b": {}})
    answers = [client.post("/v1/tasks/together", json={"model": MODEL}) for _ in range(5)]
    assert [len(output(answer)["with"]) for answer in answers] == [1] * 5
    assert min(answer.json()["timing"]["queue_s"] for answer in answers) < 0.1
