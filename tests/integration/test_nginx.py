"""deploy/nginx/onebox.conf before a real server: what must get through does.

Skipped where there is no nginx; only ports, certificate and the address of Onebox are changed.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.integration.conftest import PLUGIN
from tests.support.asking import holding
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.listening import LIVE
from tests.support.ports import free_port
from tests.support.server import API_KEY, ROOT, Server, running_server, wait_for
from tests.support.talking import ONE_THREAD
from tests.support.tiny_listener import listening_model
from tests.unit.services.test_remote_tls import make_certificate

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
HOST = "onebox.example.com"
MIB = 2**20
# The rest of a configuration, which a system's own nginx.conf has.
AROUND = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/onebox.conf;
}}
"""

pytestmark = pytest.mark.skipif(NGINX is None, reason="there is no nginx here")


@dataclass(frozen=True)
class Proxy:
    port: int
    trust: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        return httpx.Client(base_url=self.url, headers=headers, verify=self.trust, timeout=120)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("models")
    dummy_checkpoint(models / "alpha")
    listening_model(models / "tiny")
    settings = {
        "ONEBOX_TRUSTED_PROXIES": "127.0.0.1",
        "ONEBOX_LOG_FORMAT": "json",
        "ONEBOX_SHUTDOWN_GRACE": "0",
    }
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with running_server(data_dir, models, **PLUGIN, **ONE_THREAD, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    assert NGINX is not None
    folder = tmp_path_factory.mktemp("nginx")
    certificate = make_certificate(folder, HOST)
    port, plain_port = free_port(), free_port()
    text = (ROOT / "deploy" / "nginx" / "onebox.conf").read_text(encoding="utf-8")
    for shipped, ours in {
        "server 127.0.0.1:8000;": f"server {server.url.removeprefix('http://')};",
        "listen [::]:80;": "",
        "listen [::]:443 ssl http2;": "",
        "listen 80;": f"listen 127.0.0.1:{plain_port};",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        f"/etc/letsencrypt/live/{HOST}/fullchain.pem": str(certificate),
        f"/etc/letsencrypt/live/{HOST}/privkey.pem": str(certificate),
    }.items():
        assert text.count(shipped) == 1, shipped
        text = text.replace(shipped, ours)
    (folder / "onebox.conf").write_text(text, encoding="utf-8")
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder), encoding="utf-8")
    if os.geteuid() == 0:
        # Its workers are another user then, and spool answers here.
        folder.chmod(0o755)
    command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    process = subprocess.Popen(command)
    try:
        wait_for(lambda: listens(port))
        trust = ssl.create_default_context(cafile=str(certificate))
        trust.check_hostname = False
        yield Proxy(port, trust)
    finally:
        process.terminate()
        process.wait(60)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_events_arrive_while_their_request_goes_on(proxy: Proxy) -> None:
    # It never ends by itself, and says so little that no buffer would ever be full.
    with proxy.client() as client, holding(client, "alpha", step_s=1.0) as endless:
        assert endless.steps


def test_a_large_upload_gets_through_whole(proxy: Proxy) -> None:
    body = b"x" * (50 * MIB)
    with proxy.client() as client:
        answer = client.post("/v1/files", data={"purpose": "user_data"}, files={"file": body})
        assert answer.status_code == 200, answer.text
        assert answer.json()["bytes"] == len(body)
        client.delete(f"/v1/files/{answer.json()['id']}").raise_for_status()


def test_a_web_socket_is_opened_and_answers(proxy: Proxy) -> None:
    async def session() -> str:
        url = proxy.url.replace("https", "wss", 1) + LIVE
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with connect(url, ssl=proxy.trust, additional_headers=headers, proxy=None) as opened:
            return str(json.loads(await opened.recv())["type"])

    assert asyncio.run(asyncio.wait_for(session(), 120)) == "session.created"


def test_ids_and_addresses_are_the_client_s_and_cannot_be_made_up(
    proxy: Proxy, server: Server
) -> None:
    with proxy.client() as client:
        sent = {"X-Request-ID": "seen-in-both-logs", "X-Forwarded-For": "203.0.113.7"}
        answer = client.get("/v1/models", headers=sent)
        assert answer.headers["x-request-id"] == "seen-in-both-logs"
        made = client.get("/v1/models", headers={"X-Request-ID": "no {sane} id"})
        assert len(made.headers["x-request-id"]) == 32
    (line,) = wait_for(lambda: [line for line in list(server.lines) if "seen-in-both-logs" in line])
    assert json.loads(line)["client"] == "127.0.0.1"
