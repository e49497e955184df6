"""What a server does once it is up."""

from __future__ import annotations

import asyncio
import gc
import stat
import sys

import pytest
import uvicorn

from onebox.api import server as module
from onebox.api.server import OneboxServer


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize("folder", [".", "files", "jobs", "spool", "uploads"])
def test_other_users_of_the_machine_see_nothing_of_what_is_kept(services, folder: str) -> None:
    found = services.settings.data_dir / folder
    assert oct(stat.S_IMODE(found.stat().st_mode)) == oct(0o700)


def test_a_server_that_is_up_looks_for_garbage_again(
    app, services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "start_text", lambda *_: "up")
    monkeypatch.setattr(OneboxServer, "_announce_devices", lambda _: asyncio.sleep(0))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None)
    interval = sys.getswitchinterval()

    async def scene() -> None:
        server = OneboxServer(config, services)
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        server.servers[0].close()

    gc.disable()
    try:
        asyncio.run(scene())
        assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
        sys.setswitchinterval(interval)
