"""Who goes first, who is refused, and who has waited too long."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import PLUGIN
from tests.support.asking import (
    EVENTS,
    FOREVER,
    Background,
    ask_and_wait,
    holding,
    output,
    refusal,
    running_requests,
)
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import ADMIN_KEY, Server, running_server, wait_for

ANNA, BERT = "key-of-anna", "key-of-bert"
STEP_S = 0.1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Four may wait for a model and five for the worker; a caller may have three requests."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("one", "two", "paced"):
        dummy_checkpoint(folder / name, called=name)
    data_dir = tmp_path_factory.mktemp("server") / "data"
    settings = {
        "API_KEYS": f"{ANNA},{BERT}",
        "ONEBOX_MAX_QUEUE": "5",
        "ONEBOX_MAX_QUEUE_PER_MODEL": "4",
        "ONEBOX_MAX_PER_CALLER": "3",
    }
    with running_server(data_dir, folder, **PLUGIN, **settings) as running:
        yield running


@pytest.fixture
def anna(server: Server) -> Iterator[httpx.Client]:
    with server.client(ANNA) as client:
        yield client


@pytest.fixture
def bert(server: Server) -> Iterator[httpx.Client]:
    with server.client(BERT) as client:
        yield client


@pytest.fixture
def chief(server: Server) -> Iterator[httpx.Client]:
    with server.client(ADMIN_KEY) as client:
        yield client


@pytest.mark.parametrize("model", ["two", "one"], ids=["another model", "the same model"])
def test_an_interactive_request_waits_at_most_two_steps_of_a_long_job(
    anna: httpx.Client, bert: httpx.Client, model: str
) -> None:
    assert bert.post("/v1/tasks/echo", json={"model": model}).status_code == 200
    with holding(anna, "one", priority="batch", step_s=STEP_S) as job:
        picture = {"model": model, "steps": 3, "step_s": STEP_S}
        assert output(bert.post("/v1/tasks/steps", json=picture))["others"] <= 2
        after = job.steps
        wait_for(lambda: job.steps > after)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"fail": "bug"}, 500),
        ({"fail": "memory"}, 503),
        ({"steps": FOREVER, "step_s": 0.02, "timeout_s": 0.5}, 504),
    ],
    ids=["a bug", "out of memory", "out of time"],
)
def test_what_becomes_of_the_interactive_request_is_nothing_to_the_job(
    anna: httpx.Client, bert: httpx.Client, body: dict[str, object], status: int
) -> None:
    with holding(anna, "one", priority="batch") as job:
        answer = bert.post("/v1/tasks/steps", json={"model": "one", **body})
        assert answer.status_code == status
        before = job.steps
        wait_for(lambda: job.steps > before)


def test_a_job_does_not_wait_for_one_of_its_own_rank_to_end(
    anna: httpx.Client, bert: httpx.Client
) -> None:
    assert bert.post("/v1/tasks/echo", json={"model": "two"}).status_code == 200
    with holding(anna, "one", priority="batch") as job:
        body = {"model": "two", "priority": "batch", "steps": 10, "step_s": 0.02}
        # Engines of one rank take turns, so the job had steps meanwhile, and goes on.
        assert output(bert.post("/v1/tasks/steps", json=body))["others"] > 1
        before = job.steps
        wait_for(lambda: job.steps > before)


def test_the_more_urgent_goes_first(
    anna: httpx.Client, bert: httpx.Client, in_background: Background
) -> None:
    with holding(anna, "one"):
        asked = [
            ask_and_wait(in_background, bert, f"p-{name}", model="one", priority=name)
            for name in ("batch", "job", "interactive")
        ]
    batch, job, interactive = (output(answer.result(120))["run"] for answer in asked)
    assert interactive < job < batch


def test_callers_take_turns(
    anna: httpx.Client, bert: httpx.Client, chief: httpx.Client, in_background: Background
) -> None:
    with holding(chief, "one"):
        asked = [
            ask_and_wait(in_background, client, f"turn-{number}", model="one")
            for number, client in enumerate((anna, anna, bert, bert))
        ]
    first, second, third, fourth = (output(answer.result(120))["run"] for answer in asked)
    assert first < third < second < fourth


def test_full_queues_refuse_with_numbers_and_a_time(
    anna: httpx.Client, bert: httpx.Client, chief: httpx.Client, in_background: Background
) -> None:
    with full(chief, anna, bert, in_background, "one"):
        for_model = chief.post("/v1/tasks/echo", json={"model": "one"})
        # Less urgent than what holds the device, so that it waits.
        other = ask_and_wait(in_background, chief, "other", model="two", priority="batch")
        # Also for who asks for events: there is a status before there is a stream.
        for_worker = chief.post("/v1/tasks/echo", json={"model": "two"}, headers=EVENTS)
    assert_told_to_come_back(for_model, "queue_full")
    assert for_model.json()["error"]["details"] == {"waiting": 4, "max": 4, "queue": "model one"}
    assert_told_to_come_back(for_worker, "queue_full")
    assert for_worker.json()["error"]["details"] == {"waiting": 5, "max": 5, "queue": "worker 0"}
    assert other.result(120).status_code == 200


def test_a_caller_with_too_many_requests_is_refused_and_others_are_not(
    anna: httpx.Client, bert: httpx.Client, in_background: Background
) -> None:
    with holding(anna, "one"):
        asked = [ask_and_wait(in_background, anna, f"many-{i}", model="one") for i in "12"]
        refused = anna.post("/v1/tasks/echo", json={"model": "one"})
        asked.append(ask_and_wait(in_background, bert, "another", model="one"))
    assert_told_to_come_back(refused, "concurrency_limit")
    assert refused.json()["error"]["details"] == {"requests": 3, "max": 3}
    assert [answer.result(120).status_code for answer in asked] == [200] * 3
    assert anna.post("/v1/tasks/echo", json={"model": "one"}).status_code == 200


def test_the_time_to_come_back_is_what_requests_took(
    anna: httpx.Client, bert: httpx.Client, chief: httpx.Client, in_background: Background
) -> None:
    def refused_for_ms() -> int:
        with full(chief, anna, bert, in_background, "paced"):
            refused = chief.post("/v1/tasks/echo", json={"model": "paced"})
        return int(refused.headers["retry-after-ms"])

    for _ in range(3):
        anna.post("/v1/tasks/steps", json={"model": "paced", "step_s": 1})
    after_slow_ones = refused_for_ms()
    for _ in range(120):
        anna.post("/v1/tasks/echo", json={"model": "paced"})
    # Four wait, each for as long as the last ones took.
    assert after_slow_ones >= 4000
    assert after_slow_ones > 2 * refused_for_ms()


def test_a_request_past_its_own_time_limit_frees_the_device(anna: httpx.Client) -> None:
    body = {"model": "one", "steps": FOREVER, "step_s": 0.02, "timeout_s": 0.5}
    assert_out_of_time(anna.post("/v1/tasks/steps", json=body))
    assert anna.post("/v1/tasks/echo", json={"model": "one"}).status_code == 200


def test_a_request_past_its_own_time_limit_waits_no_longer(
    anna: httpx.Client, bert: httpx.Client
) -> None:
    with holding(anna, "one") as job:
        assert_out_of_time(bert.post("/v1/tasks/echo", json={"model": "one", "timeout_s": 0.5}))
        assert not running_requests(bert)
        assert bert.get("/v1/status").json()["queue"]["waiting"] == 0
        before = job.steps
        wait_for(lambda: job.steps > before)


def test_the_servers_time_limit_is_the_most(tmp_path: Path) -> None:
    dummy_checkpoint(tmp_path / "models" / "one")
    settings = {**PLUGIN, "ONEBOX_REQUEST_TIMEOUT": "1"}
    with (
        running_server(tmp_path / "data", tmp_path / "models", **settings) as own,
        own.client() as client,
    ):
        body = {"model": "one", "steps": FOREVER, "step_s": 0.02, "timeout_s": 600}
        answer = client.post("/v1/tasks/steps", json=body)
    assert_out_of_time(answer)
    assert answer.json()["error"]["details"]["timeout_s"] <= 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timeout_s", "0"),
        ("timeout_s", "-1"),
        ("timeout_s", "1e9"),
        ("timeout_s", "NaN"),
        ("timeout_s", "Infinity"),
        ("timeout_s", '"soon"'),
        ("priority", '"urgent"'),
        ("priority", "0"),
    ],
)
def test_a_bad_option_is_named(anna: httpx.Client, field: str, value: str) -> None:
    answer = anna.post("/v1/tasks/echo", content=f'{{"model": "one", "{field}": {value}}}')
    assert refusal(answer) == (422, "invalid_value")
    assert answer.json()["error"]["param"] == field


@contextlib.contextmanager
def full(
    holder: httpx.Client,
    first: httpx.Client,
    second: httpx.Client,
    in_background: Background,
    model: str,
) -> Iterator[None]:
    """One request runs on the model and four of two others wait for it; they end with the body."""
    with holding(holder, model):
        asked = [
            ask_and_wait(in_background, client, f"full-{number}", model=model)
            for number, client in enumerate((first, first, second, second))
        ]
        yield
    assert [answer.result(120).status_code for answer in asked] == [200] * 4


def assert_told_to_come_back(answer: httpx.Response, code: str) -> None:
    assert refusal(answer) == (429, code)
    seconds, milliseconds = (int(answer.headers[n]) for n in ("retry-after", "retry-after-ms"))
    assert 1 <= seconds <= 150
    assert seconds - 1 < milliseconds / 1000 <= seconds


def assert_out_of_time(answer: httpx.Response) -> None:
    assert refusal(answer) == (504, "deadline_exceeded")
    assert answer.headers["x-should-retry"] == "false"
