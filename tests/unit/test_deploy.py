"""What is shipped to run Onebox elsewhere: image, services. No tool of theirs is needed here."""

from __future__ import annotations

import configparser
import http.server
import json
import plistlib
import re
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from onebox.core.settings import Settings
from onebox.core.settings_sources import names_of

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KNOWN = {name for field in Settings.model_fields for name in names_of(field)}
GRACE_S = Settings.model_fields["shutdown_grace"].default


def instructions() -> list[tuple[str, str]]:
    """Of the image, each with what it says, on one line."""
    text = (ROOT / "Dockerfile.cuda").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def said(name: str) -> list[str]:
    return [text for word, text in instructions() if word == name]


class TestImage:
    def test_its_user_is_not_root(self):
        assert said("USER") == ["10001:10001"]

    def test_models_and_data_are_volumes_of_the_settings(self):
        (volumes,) = said("VOLUME")
        given = dict(pair.split("=", 1) for pair in shlex.split(said("ENV")[-1]))
        assert json.loads(volumes) == [given["MODEL_DIRS"].split(",")[0], given["DATA_DIR"]]
        assert {name for name in given if name not in ("PATH", "PYTHONUNBUFFERED", "HOME")} <= KNOWN

    def test_it_holds_no_secret(self):
        text = "\n".join([*said("ENV"), *said("ARG")])
        assert not re.search(r"(KEY|SECRET|TOKEN|PASSWORD)\w*=", text)

    def test_signals_reach_the_server_and_docker_waits_long_enough(self):
        (entry,), (command,) = said("ENTRYPOINT"), said("CMD")
        assert json.loads(entry)[-1] == "onebox"
        assert json.loads(command) == ["serve", "--make-key"]
        assert said("STOPSIGNAL") == ["SIGTERM"]
        (grace,) = re.findall(r"ONEBOX_SHUTDOWN_GRACE=(\d+)", said("ENV")[-1])
        assert int(grace) < 10

    def test_it_says_how_it_is(self):
        (check,) = said("HEALTHCHECK")
        words = json.loads(check.split("CMD ")[1])
        assert "curl" not in check
        copied = {line.split()[-1] for line in said("COPY")}
        assert words[-1] in copied

    def test_it_is_made_of_what_is_shipped(self):
        ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        assert ignore[1] == "*"
        let_in = {line[1:].split("/")[0] for line in ignore if line.startswith("!")}
        for line in said("COPY"):
            if "--from=" not in line:
                for source in line.split()[:-1]:
                    assert (ROOT / source).exists(), source
                    assert source.split("/")[0] in let_in, source

    def test_dependencies_come_before_what_changes_daily(self):
        lines = [f"{word} {text}" for word, text in instructions()]
        first = next(n for n, line in enumerate(lines) if "pip install -r" in line)
        assert first < lines.index("COPY src src")


class TestHealthCheck:
    @staticmethod
    def run(port: int) -> int:
        command = [sys.executable, "-I", str(DEPLOY / "container" / "healthcheck.py")]
        return subprocess.run(command, env={"PORT": str(port)}, timeout=30).returncode

    @pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
    def test_it_asks_the_server(self, status, code):
        asked = []

        class Server(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response_only(status)
                self.end_headers()

        with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
            thread = threading.Thread(target=server.handle_request)
            thread.start()
            assert self.run(server.server_port) == code
            thread.join()
        assert asked == ["/health"]

    def test_no_answer_is_no_health(self):
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        assert self.run(port) == 1


class TestSystemd:
    @pytest.fixture
    def unit(self) -> configparser.RawConfigParser:
        class Repeated(dict):
            """Joins what stands there more than once."""

            def __setitem__(self, name, value):
                if isinstance(value, list) and isinstance(self.get(name), list):
                    value = [*self[name], *value]
                super().__setitem__(name, value)

        parser = configparser.RawConfigParser(strict=False, dict_type=Repeated)
        parser.optionxform = str
        parser.read(DEPLOY / "systemd" / "onebox.service", encoding="utf-8")
        return parser

    def test_what_runs_has_its_grace_time(self, unit):
        service = unit["Service"]
        assert service["KillMode"] == "mixed"
        assert float(service["TimeoutStopSec"]) > GRACE_S + 10

    def test_it_is_no_root_and_graphics_processors_are_let_in(self, unit):
        service = unit["Service"]
        assert service["User"] == "onebox"
        assert service["NoNewPrivileges"] == "true"
        assert "MemoryDenyWriteExecute" not in service
        assert "PrivateDevices" not in service
        assert "char-nvidia-uvm rw" in service["DeviceAllow"]

    def test_its_settings_are_settings(self, unit):
        given = {line.split("=")[0] for line in unit["Service"]["Environment"].splitlines()}
        assert {name for name in given if name not in ("HOME", "PYTHONUNBUFFERED")} <= KNOWN
        assert "ONEBOX_ROOT" in given


class TestLaunchd:
    @pytest.fixture
    def agent(self) -> dict:
        return plistlib.loads((DEPLOY / "launchd" / "ai.onebox.server.plist").read_bytes())

    def test_it_is_named_as_its_file(self, agent):
        assert agent["Label"] == "ai.onebox.server"
        assert agent["ProgramArguments"][1:] == ["serve"]

    def test_it_begins_again_after_a_failure_alone(self, agent):
        assert agent["RunAtLoad"] is True
        assert agent["KeepAlive"] == {"SuccessfulExit": False}

    def test_what_runs_has_its_grace_time(self, agent):
        assert agent["ExitTimeOut"] > GRACE_S + 10

    def test_its_settings_are_settings(self, agent):
        assert agent["EnvironmentVariables"].keys() - {"PYTHONUNBUFFERED"} <= KNOWN
