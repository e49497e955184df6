"""A checkpoint dropped into the folder is served; changed or taken away, it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx

from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import wait_for


def names(client: httpx.Client) -> set[str]:
    return {model["id"] for model in client.get("/v1/models").json()["data"]}


def loaded(client: httpx.Client) -> bool:
    """Whether a bundle of "late" is in memory, of this state of its files or of an earlier one."""
    lines = client.get("/metrics").text.splitlines()
    return any(line.startswith("onebox_model_loaded") and '"late"' in line for line in lines)


def test_dropped_in_then_changed_then_removed(
    client: httpx.Client, models: Path, tmp_path: Path
) -> None:
    dummy_checkpoint(tmp_path / "late", first=True).rename(models / "late")
    wait_for(lambda: "late" in names(client))
    before = wait_for(lambda: client.get("/v1/models/late").json()["sha256"])
    first = client.post("/v1/tasks/echo", json={"model": "late"}).json()["outputs"][0]["json"][
        "load"
    ]

    (models / "late" / "config.json").write_text('{"model_type": "onebox-dummy", "second": true}')
    wait_for(lambda: client.get("/v1/models/late").json().get("sha256") not in (None, before))
    second = client.post("/v1/tasks/echo", json={"model": "late"}).json()["outputs"][0]["json"][
        "load"
    ]
    assert second != first

    shutil.rmtree(models / "late")
    wait_for(lambda: "late" not in names(client))
    wait_for(lambda: not loaded(client))
    assert client.post("/v1/tasks/echo", json={"model": "late"}).status_code == 404


def test_broken_ones_are_listed_with_their_reason(client: httpx.Client) -> None:
    listed = client.get("/v1/models").json()
    by_name = {model["id"]: model for model in listed["data"]}
    assert by_name["broken"]["status"] == "broken"
    assert by_name["broken"]["reason"]
    assert by_name["garbage"]["status"] == "broken"
    assert listed["count"] == len(listed["data"]) == len(listed["models"])
    assert {"id", "name", "size", "path", "extension"} == set(listed["models"][0])
