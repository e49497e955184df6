"""`WS /v1/audio/transcriptions/live`: who gets a session, and what is told to who does not."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from onebox.api.openai.live import PATH
from onebox.core.errors import ModelNotFound
from tests.unit.api.asking import USER, ask
from tests.unit.api.ears import hearing, live_app
from tests.unit.api.sockets import handshake


@pytest.fixture(scope="module")
def built(services):
    return live_app(services)


@pytest.fixture
def app(built):
    hearing(built)
    return built


def test_a_token_in_the_header(app):
    status, accepted = handshake(app, PATH)
    assert (status, accepted.get("subprotocol")) == (101, None)
    assert b"x-request-id" in dict(accepted["headers"])


def test_a_token_from_a_browser_is_never_echoed(app):
    offered = ["onebox", "bearer.user-key"]
    status, accepted = handshake(app, PATH, headers=(), subprotocols=offered)
    assert (status, accepted["subprotocol"]) == (101, "onebox")


@pytest.mark.parametrize(
    "offered",
    [
        [],
        ["onebox"],
        ["bearer.user-key"],
        ["onebox", "bearer."],
        ["onebox", "bearer.wrong"],
        ["onebox", "user-key"],
        ["onebox", "bearer.wrong", "bearer.user-key"],
    ],
)
def test_without_a_good_token_there_is_no_session(app, offered):
    status, error = handshake(app, PATH, headers=(), subprotocols=offered)
    assert (status, error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("header", ["Bearer wrong", "Basic user-key", ""])
def test_a_bad_header_is_not_made_good_by_an_offer(app, header):
    offered = ["onebox", "bearer.user-key"]
    headers = [("authorization", header)]
    assert handshake(app, PATH, headers=headers, subprotocols=offered)[0] == 401


@pytest.mark.parametrize("name", ["token", "key", "access_token", "authorization"])
def test_a_token_in_the_address_opens_nothing(app, name):
    assert handshake(app, f"{PATH}?{name}=user-key", headers=())[0] == 401
    status, error = handshake(app, f"{PATH}?{name}=user-key")
    assert (status, error["code"]) == (400, "unknown_parameter")


def test_a_token_without_the_scope_is_forbidden(app, services):
    empty = services.access.authenticator.sign("u", [], 60)
    headers = [("authorization", f"Bearer {empty}")]
    assert handshake(app, PATH, headers=headers)[0] == 403


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("https://let.in", "testserver", 101),
        ("http://testserver", "testserver", 101),
        ("https://TestServer", "testserver", 101),
        ("http://testserver:80", "testserver", 101),
        ("https://testserver", "testserver:443", 101),
        ("http://testserver:8000", "testserver:8000", 101),
        ("http://testserver:8000", "testserver", 403),
        ("http://testserver", "testserver:8000", 403),
        ("https://let.in.evil.com", "testserver", 403),
        ("https://evil.com", "testserver", 403),
        ("http://testserver@evil.com", "testserver", 403),
        ("http://evil.com/testserver", "testserver", 403),
        ("null", "testserver", 403),
        ("", "testserver", 403),
        ("http://", "", 403),
        ("file://testserver", "testserver", 403),
    ],
)
def test_a_page_must_be_ours_or_let_in(app, origin, host, status):
    headers = [*USER.items(), ("origin", origin)]
    found, error = handshake(app, PATH, headers=headers, host=host)
    assert found == status
    if status == 403:
        assert error["type"] == "permission_error"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("partial=perhaps", "partial"),
        ("temperature=2", "temperature"),
        ("language=klingon", "language"),
        ("priority=urgent", "priority"),
        ("model=a&model=b", "model"),
        ("words=1", "words"),
        ("prompt=" + "x" * 4001, "prompt"),
    ],
)
def test_a_bad_query_is_told_before_the_session(app, query, param):
    status, error = handshake(app, f"{PATH}?{query}")
    assert (status, error["param"]) == (400, param)


def test_an_unknown_model_is_told_before_the_session(app):
    hearing(app, refusal=ModelNotFound("no model x", param="model"))
    status, error = handshake(app, f"{PATH}?model=x")
    assert (status, error["code"]) == (404, "model_not_found")


def test_other_sockets_are_refused(app):
    assert handshake(app, "/v1/audio/transcriptions")[0] == 403


def test_it_is_no_plain_route(app):
    assert ask(app, "GET", PATH, USER).status == 404


def test_a_session_is_one_line_of_log_and_one_request_in_the_metrics(app):
    with capture_logs() as logged:
        handshake(app, f"{PATH}?prompt=private")
        handshake(app, PATH, headers=())
    lines = [line for line in logged if line["event"] == "request"]
    assert [(line["route"], line["status"]) for line in lines] == [(PATH, 101), (PATH, 401)]
    assert "private" not in str(logged)
    page = ask(app, "GET", "/metrics", USER).body.decode()
    labels = f'method="WEBSOCKET",route="{PATH}"'
    assert f"http_requests_active{{{labels}}} 0.0" in page
    assert f'http_requests_total{{{labels},status="101"}}' in page
