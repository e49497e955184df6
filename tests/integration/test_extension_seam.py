"""A task in a package that is not ours: one file, and it has route, worker and formats."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import ROOT, running_server

PACKAGE = '''
"""Task `shout`: bytes to upper case."""
from pydantic import BaseModel
from onebox.core.contracts import Task
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.core.results import Output

class ShoutInput(BaseModel):
    speech: MediaRef

class Shout(Task[ShoutInput]):
    """Upper case."""
    name = "shout"
    summary = "Say it louder"
    Input = ShoutInput
    families = frozenset({"dummy"})

    def run(self, bundle, request, context):
        context.step(1, 1)
        return [Output("bytes", context.read(request.speech).upper(), {"media_type": "text/plain"})]

TASKS.register(Shout.name, Shout())
'''


def test_a_task_from_elsewhere_has_json_bytes_and_events(tmp_path: Path) -> None:
    (tmp_path / "shout_plugin.py").write_text(PACKAGE)
    dummy_checkpoint(tmp_path / "models" / "any")
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), str(tmp_path)])
    settings = {"ONEBOX_PLUGINS": "tests.support.dummy_plugin,shout_plugin", "PYTHONPATH": path}
    with (
        running_server(tmp_path / "data", tmp_path / "models", **settings) as server,
        server.client() as client,
    ):

        def shout(accept: str) -> object:
            return client.post(
                "/v1/tasks/shout", headers={"Accept": accept}, files={"speech": b"hello"}
            )

        assert shout("application/json").json()["outputs"][0]["b64_json"] == "SEVMTE8="
        assert shout("text/plain").content == b"HELLO"
        assert "event: progress" in shout("text/event-stream").text
        assert "shout" in client.get("/v1/models/any").json()["tasks"]
