"""The server as a process: its start-up text, its tokens, its stop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.e2e.conftest import APP, SECRET_KEY
from tests.support.server import ROOT, Server, running_server, wait_for


def command(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **settings}
    return subprocess.run(
        [*APP, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_first_start_makes_a_key_prints_it_and_a_line_to_paste(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    unset = {"API_KEYS": "", "ONEBOX_ADMIN_KEYS": ""}
    with running_server(
        data_dir, ROOT / "ai-models", command=APP, wait_ready=False, **unset
    ) as own:
        text = "".join(own.log())
        key = command("keys", "show", DATA_DIR=str(data_dir)).stdout.strip()
        assert key.startswith("ob-")
        assert f"API key: {key}" in text
        assert "onebox-shapes" in text
        assert (data_dir / "admin.key").stat().st_mode & 0o077 == 0
        with own.client(key) as client:
            assert client.get("/v1/models").status_code == 200
        with own.client("wrong") as client:
            assert client.get("/v1/models").status_code == 401
        wait_for(lambda: "Models run on cpu" in "".join(own.lines))


def test_a_public_address_without_a_key_is_refused(tmp_path: Path) -> None:
    settings = {"HOST": "0.0.0.0", "DATA_DIR": str(tmp_path / "d"), "API_KEYS": "", "PORT": "0"}
    done = command("serve", **settings)
    assert done.returncode == 1
    assert "API_KEYS" in done.stderr


def test_a_signed_token_opens_what_its_scope_allows(server: Server) -> None:
    for scope, status in (("infer", 200), ("admin", 200), ("manage", 403)):
        made = command("token", "create", "--scope", scope, SECRET_KEY=SECRET_KEY)
        with server.client(made.stdout.strip()) as client:
            assert client.get("/v1/models").status_code == status


def test_a_token_without_a_secret_is_not_made() -> None:
    done = command("token", "create", SECRET_KEY="")
    assert done.returncode == 1
    assert "SECRET_KEY" in done.stderr


def test_bad_settings_are_named() -> None:
    done = command("serve", PORT="many")
    assert done.returncode == 1
    assert "PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_gateway_has_no_torch(server: Server) -> None:
    maps = [region.path for region in psutil.Process(server.process.pid).memory_maps()]
    assert not [path for path in maps if "libtorch" in path]
    assert [path for path in (m.path for m in server.worker().memory_maps()) if "libtorch" in path]


def test_doctor_tells_as_a_table_and_as_json() -> None:
    table, plain = command("doctor"), command("doctor", "--json")
    assert "torch" in table.stdout
    assert plain.stdout.strip().startswith("{")
    assert table.returncode == plain.returncode


def test_the_command_is_instant_when_nothing_is_to_be_done() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *APP[1:], "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "onebox" in done.stdout
    assert " torch\n" not in done.stderr
