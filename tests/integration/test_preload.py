"""Models that are loaded before anybody asks, and what `/ready` says until they are."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.ends import READY_WITHIN_S, unready_reasons, wait_until_ready
from tests.support.faults_plugin import PLUGINS
from tests.support.server import running_server, wait_for

LATE = "late/one"


def loaded(client: httpx.Client) -> set[str]:
    """Names of what is in the memory of any worker."""
    devices = client.get("/v1/status").json()["devices"]
    return {b["name"] for d in devices for b in d["bundles"] if b["state"] == "ready"}


def test_ready_waits_for_what_is_preloaded_and_names_what_is_missing(tmp_path: Path) -> None:
    models = tmp_path / "models"
    dummy_checkpoint(models / "quick")
    dummy_checkpoint(models / "slow", load_cue=str(tmp_path / "cue"))
    dummy_checkpoint(models / "other", other_contents=True)
    settings = {**PLUGINS, "ONEBOX_PRELOAD": f"quick,slow,{LATE}", "MODEL_SCAN_INTERVAL": "1"}
    with (
        running_server(tmp_path / "data", models, wait_ready=False, **settings) as server,
        server.client() as client,
    ):
        # While the worker starts it is the worker that is missing, then a model after the other.
        assert unready_reasons(client)
        wait_for(lambda: "slow is not loaded yet" in unready_reasons(client), READY_WITHIN_S)
        # The two that are there come in either order; the third has no files yet.
        (tmp_path / "cue").touch()
        wait_for(lambda: len(unready_reasons(client).splitlines()) == 1)
        assert unready_reasons(client).startswith(f"{LATE} is not loaded yet: ")
        assert loaded(client) == {"quick", "slow"}

        # It comes, and nothing else has to be done.
        dummy_checkpoint(models / LATE, came_late=True)
        wait_until_ready(client)
        assert loaded(client) == {"quick", "slow", LATE}

        # A new worker has nothing in its memory.
        server.worker().kill()
        wait_for(lambda: unready_reasons(client))
        wait_until_ready(client)
        assert loaded(client) == {"quick", "slow", LATE}
