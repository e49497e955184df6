"""Memory runs out in torch itself: one clean answer, and the next request works.

The worker's address space is limited by the plugin, so that the allocator fails where the budget
saw no trouble.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.asking import Background, ask_and_wait, holding, output, refusal, unload
from tests.support.server import ADMIN_KEY, Server, running_server, wait_for
from tests.support.tensor_plugin import ROOM_BYTES, tensor_checkpoint

PLUGINS = {"ONEBOX_PLUGINS": "tests.support.dummy_plugin,tests.support.tensor_plugin"}
SMALL = 1024**2
TOO_MUCH = 2 * ROOM_BYTES


@pytest.fixture(scope="module")
def cue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where there must be something for the load of `giant` to go on."""
    return tmp_path_factory.mktemp("cues") / "giant"


@pytest.fixture(scope="module")
def server(cue: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    tensor_checkpoint(folder / "light", SMALL)
    tensor_checkpoint(folder / "half", ROOM_BYTES // 2)
    tensor_checkpoint(folder / "wide", ROOM_BYTES * 5 // 8)
    tensor_checkpoint(folder / "giant", TOO_MUCH, load_cue=str(cue))
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with running_server(data_dir, folder, **PLUGINS) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """Whatever the test did, the next small request works and nothing is still in use."""
    worker = server.worker().pid
    with server.client() as client:
        yield client
        assert output(fill(client, work_bytes=SMALL)) == {"lean": False, "batch": 1}
        wait_for(lambda: all(b["leases"] == b["reserved_bytes"] == 0 for b in bundles(client)))
    assert server.worker().pid == worker


def fill(client: httpx.Client, model: str = "light", **body: object) -> httpx.Response:
    return client.post("/v1/tasks/fill", json={"model": model, **body})


def wait_until_idle(server: Server) -> None:
    """Whoever was answered uses its model for a moment more."""
    with server.client(ADMIN_KEY) as chief:

        def idle() -> bool:
            # After this is answered the status is no older.
            assert unload(chief, "giant").status_code == 200
            return not any(bundle["leases"] for bundle in bundles(chief))

        wait_for(idle)


def bundles(client: httpx.Client) -> list[dict[str, object]]:
    found: list[dict[str, object]] = client.get("/v1/status").json()["devices"][0]["bundles"]
    return found


def assert_out_of_memory(answer: httpx.Response) -> None:
    assert refusal(answer) == (503, "insufficient_memory")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "body",
    [{"work_bytes": TOO_MUCH}, {"work_bytes": SMALL, "out_of_memory": "always"}],
    ids=["the allocator", "torch.OutOfMemoryError"],
)
def test_what_does_not_fit_lean_either_is_one_clean_503(
    client: httpx.Client, body: dict[str, object]
) -> None:
    for _ in range(3):
        answer = fill(client, **body)
        assert_out_of_memory(answer)
        # It would fail again, and cost the others their memory again.
        assert answer.headers["x-should-retry"] == "false"
        assert output(fill(client, work_bytes=SMALL))["lean"] is False


@pytest.mark.parametrize(
    "body",
    [
        {"work_bytes": TOO_MUCH, "lean_bytes": SMALL},
        {"work_bytes": SMALL, "out_of_memory": "first"},
    ],
    ids=["the allocator", "torch.OutOfMemoryError"],
)
def test_the_second_try_is_lean(client: httpx.Client, body: dict[str, object]) -> None:
    assert output(fill(client, **body)) == {"lean": True, "batch": 1}


def test_what_is_idle_makes_room(server: Server, client: httpx.Client) -> None:
    assert output(fill(client, "half", work_bytes=SMALL))["lean"] is False
    wait_until_idle(server)
    assert "half" in [bundle["name"] for bundle in bundles(client)]
    # Beside "half" it does not fit, and alone it does.
    assert output(fill(client, work_bytes=ROOM_BYTES * 5 // 8)) == {"lean": True, "batch": 1}
    wait_for(lambda: [bundle["name"] for bundle in bundles(client)] == ["light"])


def test_a_batch_is_split_and_all_of_it_is_answered(
    client: httpx.Client, in_background: Background
) -> None:
    with holding(client, "light"):
        asked = [
            ask_and_wait(
                in_background,
                client,
                f"part-{number}",
                task="fill",
                model="light",
                work_bytes=ROOM_BYTES * 5 // 16,
                together=True,
            )
            for number in range(4)
        ]
    answers = [output(answer.result(120)) for answer in asked]
    assert answers == [{"lean": True, "batch": 2}] * 4


def test_a_load_that_does_not_fit_fails_for_all_who_wait(
    server: Server, client: httpx.Client, in_background: Background, cue: Path
) -> None:
    def failed_loads() -> int:
        return sum('"load_failed"' in line for line in server.log())

    before = failed_loads()
    asked = [
        ask_and_wait(
            in_background,
            client,
            f"load-{number}",
            task="fill",
            state="loading",
            model="giant",
            work_bytes=SMALL,
        )
        for number in range(3)
    ]
    cue.touch()
    for answer in asked:
        assert_out_of_memory(answer.result(120))
    assert failed_loads() == before + 1
    wait_for(lambda: "giant" not in [bundle["name"] for bundle in bundles(client)])
    assert output(fill(client, "half", work_bytes=SMALL))["lean"] is False


def test_a_load_that_fits_alone_sends_away_what_is_idle(
    server: Server, client: httpx.Client
) -> None:
    assert output(fill(client, "half", work_bytes=SMALL))["lean"] is False
    wait_until_idle(server)
    # As much again and more is wanted for the weights of another model.
    assert output(fill(client, "wide", work_bytes=SMALL))["lean"] is False
    wait_for(lambda: "half" not in [bundle["name"] for bundle in bundles(client)])
