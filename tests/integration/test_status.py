"""The routes that say what this is and how it does."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from tests.support.server import Server, wait_for


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/health", "/v1/health", "/healthz", "/ready", "/docs", "/redoc"]
)
def test_public(server: Server, path: str) -> None:
    with server.client(None) as anonymous:
        assert anonymous.get(path).status_code == 200


def test_the_pages_need_nothing_from_elsewhere(server: Server) -> None:
    with server.client(None) as anonymous:
        for page in ("/docs", "/redoc"):
            html = anonymous.get(page).text
            used = re.findall(r'(?:src|href)="([^"]+)"', html)
            assert used
            for asset in used:
                assert not asset.startswith(("http", "//")), asset
                if asset.startswith("/"):
                    assert anonymous.get(asset).status_code == 200


def test_every_task_is_on_the_openapi_page(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/tasks/echo", "/v1/tasks/text-to-image", "/v1/infer", "/v1/models"} <= set(paths)
    assert {"/v1/status", "/v1/requests/{request_id}/cancel", "/v1/models/rescan"} <= set(paths)
    assert {f"/v1/models/{{model}}/{what}" for what in ("load", "unload", "memory")} <= set(paths)
    body = paths["/v1/tasks/echo"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"text", "model", "timeout_s", "priority"} <= set(body["properties"])


def test_metrics_move(client: httpx.Client) -> None:
    def count() -> float:
        name = 'onebox_predictions_total{model="alpha",status="ok",task="echo"} '
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    before = count()
    client.post("/v1/tasks/echo", json={"model": "alpha"})
    assert count() == before + 1


def test_a_request_id_is_kept_if_it_is_sane(client: httpx.Client) -> None:
    assert (
        client.get("/health", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"]
        == "mine-1"
    )
    odd = client.get("/health", headers={"X-Request-ID": "x" * 65}).headers["x-request-id"]
    assert odd != "x" * 65


def test_one_access_line_with_the_id_and_no_key(server: Server, client: httpx.Client) -> None:
    client.post(
        "/v1/tasks/echo",
        json={"model": "alpha", "text": "private words"},
        headers={"X-Request-ID": "mine-2"},
    )

    def access_lines() -> list[dict[str, Any]]:
        named = [json.loads(line) for line in list(server.lines) if '"mine-2"' in line]
        return [line for line in named if line["event"] == "request"]

    (line,) = wait_for(access_lines)
    assert (line["task"], line["model"]) == ("echo", "alpha")
    assert line["run_s"] >= 0
    log = "".join(server.lines)
    assert "private words" not in log
    assert "test-key" not in log


def test_the_openapi_page_tells_the_one_error_shape(client: httpx.Client) -> None:
    page = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in page["components"]["schemas"]
    for path, operations in page["paths"].items():
        for operation in operations.values():
            answer = operation["responses"]["default"]["content"]["application/json"]
            assert answer["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}, path
