"""Every route needs a token, whatever the request looks like. Also run under `python -O`."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from onebox.api.app import create_app
from onebox.api.live_routing import LiveRoute
from onebox.api.routing import PUBLIC_PATHS, Route
from onebox.core.results import Artifact
from tests.unit.api.asking import ADMIN, USER, api_routes, ask, every_route
from tests.unit.api.sockets import handshake

PUBLIC = {
    *("/", "/v1", "/health", "/v1/health", "/healthz", "/ready"),
    *("/docs", "/redoc", "/openapi.json", "/docs/assets/{name}"),
    "/files/{signed}",
}
# Of the familiar routes of other servers, which are off as a rule.
FAMILIAR = {"/media/{name}"}
GUARDED = ["/metrics", "/v1/models", "/v1/models/x"]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def whole(familiar):
    """The app with all routes that there are."""
    return create_app(familiar)


def filled(path: str) -> str:
    return path.replace("{model:path}", "x").replace("{signed}", "x").replace("{name}", "x")


def test_the_public_paths_are_these_and_no_others(app):
    assert PUBLIC_PATHS == PUBLIC | FAMILIAR
    assert {path for _, path in api_routes(app)} >= PUBLIC


def test_every_route_is_of_the_guarded_class(whole):
    # Mounts, other websockets and plain starlette routes would pass by the guard.
    routes = every_route(whole.routes)
    assert len(routes) > 15
    assert [path for path, route in routes if not isinstance(route, Route | LiveRoute)] == []


def test_the_openapi_page_says_which_routes_need_a_token(whole):
    page = whole.openapi()
    assert page["components"]["securitySchemes"] == {
        "HTTPBearer": {"type": "http", "scheme": "bearer"}
    }
    open_paths = {
        path
        for path, operations in page["paths"].items()
        for operation in operations.values()
        if operation.get("security") != [{"HTTPBearer": []}]
    }
    assert open_paths == (PUBLIC | FAMILIAR) & set(page["paths"])


def test_anonymous_gets_401_everywhere_but_on_public_routes(whole):
    answers = {
        (method, path): ask(whole, method, filled(path), body=b"{}")
        for method, path in api_routes(whole)
        if path not in PUBLIC
    }
    assert {key: a.status for key, a in answers.items() if a.status != 401} == {}
    assert all(a.headers["www-authenticate"].startswith("Bearer") for a in answers.values())
    assert ("POST", "/v1/infer") in answers
    assert ("GET", "/metrics") in answers
    assert ("POST", "/v1/keys") in answers
    assert ("DELETE", "/v1/keys/{key_id}") in answers
    assert ("POST", "/v1/tasks/text-to-image") in answers
    assert ("POST", "/api/v1/create-image") in answers
    # Its name is a signature, and this one is none.
    assert answers["GET", "/media/{name}"].status == 401


def test_anonymous_gets_401_on_every_websocket(app):
    paths = [path for path, route in every_route(app.routes) if isinstance(route, LiveRoute)]
    assert "/v1/audio/transcriptions/live" in paths
    for path in paths:
        assert path not in PUBLIC
        for headers in ((), [("authorization", "Bearer wrong")], [("host", "/health")]):
            assert handshake(app, path, headers=headers)[0] == 401


@pytest.mark.parametrize("path", sorted(PUBLIC - {"/ready", "/files/{signed}"}))
def test_public_routes_need_no_token(app, path):
    assert ask(app, "GET", path.replace("{name}", "swagger-ui.css")).status == 200


def test_ready_says_503_to_anybody_while_no_worker_is_up(app):
    answer = ask(app, "GET", "/ready")
    assert (answer.status, answer.error["code"]) == (503, "worker_unready")


@pytest.mark.parametrize("name", ["x", "..", "%2e%2e%2fpyproject.toml", "..%2f__init__.py"])
def test_assets_are_those_of_the_docs_page(app, name):
    assert ask(app, "GET", f"/docs/assets/{name}").status == 404


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize(
    "host",
    [
        *("evil.com", "evil.com/health", "evil.com/health?", "evil.com/health#", "a@b/docs"),
        *("", "/health", "//health", "[::1", "testserver:99999/health", "testserver\\health"),
    ],
)
def test_a_crafted_host_changes_nothing(app, path, host):
    assert ask(app, "GET", path, {"host": host}).status == 401


@pytest.mark.parametrize(
    "target",
    [
        *("//v1/models", "/v1//models", "/v1/models/", "/v1/models//", "/v1/models/../health"),
        *("/v1/%2e%2e/metrics", "/health/../metrics", "/docs/../metrics", "/%6detrics"),
        *("/health/%2e%2e/metrics", "/health%2f..%2fmetrics", "/metrics/", "/METRICS"),
        *("/metrics;/health", "/metrics%00", "/metrics%20", "/metrics?x=/health", "/metrics%3f"),
        *("http://testserver/metrics", "http://testserver/health/../metrics", "//health/metrics"),
        *("/files/../metrics", "/files/..%2f..%2fmetrics", "/docs/assets/../../metrics", "*"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_crafted_path_opens_nothing(app, method, target):
    assert ask(app, method, target).status in {401, 404, 405, 307}


@pytest.mark.parametrize("path", ["/v1/infer", "/v1/images/generations", "/v1/tasks/text-to-image"])
@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b'{"prompt": 7}', b"x" * 9000])
def test_the_token_is_asked_for_before_the_body_is_looked_at(app, path, body):
    assert ask(app, "POST", path, body=body).status == 401


@pytest.mark.parametrize(
    "header",
    ["Basic user-key", "user-key", "Bearer user-ke", "Bearer \xe9\xff", "Bearer " + "x" * 9000],
)
def test_a_bad_token_is_401(app, header):
    answer = ask(app, "GET", "/v1/models", {"authorization": header})
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("headers", [USER, ADMIN])
def test_a_good_token_is_let_in(app, headers):
    assert ask(app, "GET", "/v1/models", headers).status == 200


def test_a_token_without_scopes_is_forbidden(app, services):
    empty = services.access.authenticator.sign("u", [], 60)
    answer = ask(app, "GET", "/v1/models", {"authorization": f"Bearer {empty}"})
    assert (answer.status, answer.error["type"]) == (403, "permission_error")


def test_a_route_added_to_the_app_itself_is_guarded(services):
    app = create_app(services)

    @app.get("/secret")
    async def secret() -> str:
        return "secret"

    assert ask(app, "GET", "/secret").status == 401
    assert ask(app, "GET", "/secret", USER).status == 200


def test_a_file_is_given_to_whoever_has_its_link(app, services):
    link = services.files.put(Artifact("image/png", b"\x89PNG"))
    answer = ask(app, "GET", f"/files/{link}")
    assert (answer.status, answer.body) == (200, b"\x89PNG")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "image/png"


def bad_links(services):
    link = services.files.put(Artifact("image/png", b"\x89PNG"))
    nested = base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=")
    stored = services.files.open(link).path
    yield from ("x", link[:-3], link + "A", f"{nested}.a.b", stored.name, "..%2flock")
    yield services.access.authenticator.sign("u", ["admin"], 60)
    stored.unlink()
    yield link


def test_a_bad_link_is_401(app, services):
    statuses = {link[:40]: ask(app, "GET", f"/files/{link}").status for link in bad_links(services)}
    assert set(statuses.values()) <= {401, 404}, statuses
    assert [link for link, status in statuses.items() if status == 404] == ["..%2flock"]


@pytest.mark.skipif(not __debug__, reason="this is the run under python -O")
def test_all_of_this_holds_without_asserts_in_the_server():
    # pytest keeps the asserts of tests even under -O; those of onebox are gone.
    files = [__file__, str(ROOT / "tests/unit/services/test_authenticator.py")]
    result = subprocess.run(
        [sys.executable, "-O", "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]
