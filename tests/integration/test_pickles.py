"""Pickles in the model folder: listed at once, converted on first use, refused when hostile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import load_file

from tests.families.tiny_language_models import language_model
from tests.support.hostile_pickles import touching, zipped_pickle
from tests.support.server import ADMIN_KEY, Server, running_server, wait_for
from tests.support.talking import CHAT, ONE_THREAD

HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "temperature": 0}


def pickled(folder: Path) -> Path:
    """The checkpoint with its weights in two shards of pickles."""
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    shards = {
        f"pytorch_model-0000{number}-of-00002.bin": names[start::2]
        for number, start in ((1, 0), (2, 1))
    }
    for shard, own in shards.items():
        torch.save({name: weights[name] for name in own}, folder / shard)
    index = {name: shard for shard, own in shards.items() for name in own}
    text = '{"metadata": {}, "weight_map": ' + str(index).replace("'", '"') + "}"
    (folder / "pytorch_model.bin.index.json").write_text(text)
    (folder / "model.safetensors").unlink()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pickled")
    language_model(folder / "safe")
    pickled(language_model(folder / "talker"))
    pickled(language_model(folder / "again", hidden_size=48))
    pickled(language_model(folder / "preloaded", hidden_size=40))
    (folder / "evil.ckpt").write_bytes(zipped_pickle(touching(folder / "ran", "system")))
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pickled-server") / "data"


@pytest.fixture(scope="module")
def server(folder: Path, data_dir: Path) -> Iterator[Server]:
    with running_server(data_dir, folder, **ONE_THREAD, ONEBOX_PRELOAD="preloaded") as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def model(client: httpx.Client, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(f"/v1/models/{name}").json()
    return answer


def said(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def test_a_preloaded_one_is_ready_when_the_server_is(client: httpx.Client) -> None:
    assert model(client, "preloaded")["loaded"]


def test_it_is_listed_at_once_and_says_that_it_will_be_converted(client: httpx.Client) -> None:
    listed = model(client, "talker")
    assert listed["tasks"] == []
    assert "converted to safetensors on first use" in listed["note"]
    assert model(client, "safe")["note"] is None


def test_its_first_use_by_many_converts_it_once_and_answers_as_its_twin(
    client: httpx.Client, server: Server, folder: Path
) -> None:
    before = model(client, "talker")
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda _: client.post(CHAT, json=HELLO | {"model": "talker"}), range(4))
        )
    twin = said(client.post(CHAT, json=HELLO | {"model": "safe"}))
    assert [said(answer) for answer in answers] == [twin] * 4
    assert sum("converting a pickle" in line and "talker" in line for line in server.log()) == 1
    after = model(client, "talker")
    assert "chat" in after["tasks"]
    assert after["note"] is None
    assert after["path"] == before["path"] == str(folder / "talker")
    assert list((server.data_dir / "converted").glob(f"{after['sha256']}/*.safetensors"))


def test_loading_converts_too(server: Server) -> None:
    with server.client(ADMIN_KEY) as chief:
        answer = chief.post("/v1/models/again/load", headers={"Accept": "text/event-stream"})
        events = [line for line in answer.text.splitlines() if line.startswith("event: ")]
        assert events[0] == "event: converting", answer.text
        assert "event: loaded" in events
        assert "chat" in model(chief, "again")["tasks"]


def test_a_hostile_one_is_listed_runs_nothing_and_is_broken_from_then_on(
    client: httpx.Client, folder: Path
) -> None:
    assert model(client, "evil")["status"] in ("hashing", "ready")
    answer = client.post("/v1/images/generations", json={"model": "evil", "prompt": "x"})
    assert answer.status_code in (400, 422)
    error = answer.json()["error"]
    assert error["code"] == "model_broken"
    assert "code and not weights" in error["message"]
    assert model(client, "evil")["status"] == "broken"
    assert not (folder / "ran").exists()


def test_a_removed_one_takes_its_conversion_along(
    client: httpx.Client, server: Server, folder: Path
) -> None:
    digest = model(client, "again")["sha256"]
    assert (server.data_dir / "converted" / digest).is_dir()
    shutil.rmtree(folder / "again")
    wait_for(lambda: not (server.data_dir / "converted" / digest).exists())


def test_a_restart_remembers_what_was_converted_and_may_refuse_it(
    server: Server, folder: Path, data_dir: Path
) -> None:
    server.stop()
    with running_server(data_dir, folder, **ONE_THREAD) as again, again.client() as client:
        wait_for(lambda: "chat" in model(client, "talker")["tasks"])
        said(client.post(CHAT, json=HELLO | {"model": "talker"}))
        assert not any("converting a pickle" in line for line in again.log())
    refusing = {**ONE_THREAD, "ONEBOX_PICKLE": "refuse"}
    with running_server(data_dir, folder, **refusing) as again, again.client() as client:
        assert "ONEBOX_PICKLE" in model(client, "talker")["reason"]
        assert client.post(CHAT, json=HELLO | {"model": "talker"}).status_code in (400, 422)
