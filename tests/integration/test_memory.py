"""Models that do not fit together share one budget."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.integration.conftest import PLUGIN
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import Server, running_server, wait_for

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A budget of 100 MiB over models of 60 MiB each."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("one", "two", "three"):
        dummy_checkpoint(folder / name, resident_bytes=60 * MIB, load_s=0.05, called=name)
    dummy_checkpoint(folder / "huge", resident_bytes=101 * MIB)
    (folder / "three" / "onebox.toml").write_text('idle_timeout = 0.1\naliases = ["drei"]\n')
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with running_server(data_dir, folder, **PLUGIN, ONEBOX_MEMORY_BUDGET="100MiB") as running:
        yield running


def loaded(client: httpx.Client) -> set[str]:
    return {model["id"] for model in client.get("/v1/models").json()["data"] if model["loaded"]}


def test_the_idle_one_goes_so_that_the_other_fits(small: Server) -> None:
    with small.client() as client:
        for name in ("one", "two", "one"):
            assert client.post("/v1/tasks/echo", json={"model": name}).status_code == 200
            wait_for(lambda wanted=name: loaded(client) == {wanted})


def test_many_first_requests_cause_one_load(small: Server) -> None:
    with small.client() as client, ThreadPoolExecutor(8) as pool:
        client.post("/v1/tasks/echo", json={"model": "one"})
        answers = list(
            pool.map(lambda _: client.post("/v1/tasks/echo", json={"model": "two"}), range(8))
        )
        loads = {answer.json()["outputs"][0]["json"]["load"] for answer in answers}
        assert len(loads) == 1


def test_two_models_in_turns_under_load_all_get_answers(small: Server) -> None:
    with small.client() as client, ThreadPoolExecutor(8) as pool:
        names = ["one", "two"] * 8
        answers = pool.map(lambda name: client.post("/v1/tasks/echo", json={"model": name}), names)
        assert [answer.status_code for answer in answers] == [200] * 16


def test_what_can_never_fit_is_refused_at_once_with_both_numbers(small: Server) -> None:
    with small.client() as client:
        error = client.post("/v1/tasks/echo", json={"model": "huge"}).json()["error"]
        assert (error["status"], error["code"]) == (507, "model_too_large")
        assert error["details"] == {"needed_bytes": 101 * MIB, "budget_bytes": 100 * MIB}


def test_working_memory_counts(small: Server) -> None:
    with small.client() as client:
        body = {"model": "one", "reserve_bytes": 41 * MIB}
        assert client.post("/v1/tasks/echo", json=body).status_code == 507
        assert (
            client.post("/v1/tasks/echo", json={**body, "reserve_bytes": 40 * MIB}).status_code
            == 200
        )


def test_an_idle_model_is_unloaded(small: Server) -> None:
    with small.client() as client:
        assert client.post("/v1/tasks/echo", json={"model": "drei"}).json()["model"] == "three"
        wait_for(lambda: "three" not in loaded(client))
