"""The line that the log has about each request: a request that failed says by what."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fastapi import Request
from structlog.testing import capture_logs

from onebox.api.app import create_app
from onebox.api.middleware import RequestContext
from onebox.api.streaming import ByteStream
from onebox.core.errors import InsufficientCredits, OutOfMemory
from onebox.services.request import Outcome
from tests.unit.api.asking import ADMIN, USER, ask
from tests.unit.api.texts import CHAT, Texts, app_with

TASK = "/v1/tasks/text-to-image"
PIECE = [{"index": 0, "content": "Hel"}]
STREAMED = b'{"messages": [{"role": "user", "content": "Hi"}], "stream": true}'


class Endless(Texts):
    """Writes a first piece, after which the client leaves."""

    def __init__(self) -> None:
        super().__init__(None, PIECE)
        self.leaves = asyncio.Event()

    async def run(self, prepared: Any) -> Outcome:
        # What was written is to be sent first.
        for _ in range(20):
            await asyncio.sleep(0)
        self.leaves.set()
        return await asyncio.Future()


def line(app, method: str, path: str, headers=USER, body: bytes = b"", leaves=None) -> Any:
    with capture_logs() as logged:
        ask(app, method, path, headers, body, leaves)
    (found,) = [each for each in logged if each["event"] == "request"]
    return found


@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "code"),
    [
        (TASK, {}, b"{}", 401, "invalid_api_key"),
        (TASK, USER, b"{}", 422, "missing_required_parameter"),
        (TASK, USER, b'{"prompt": 5}', 422, "invalid_value"),
        (TASK, USER, b'{"prompt": ', 422, "invalid_json"),
        (TASK, USER, b'{"prompt": "x", "model": "none"}', 404, "model_not_found"),
        (TASK, USER, b" " * 5000, 413, "payload_too_large"),
        ("/v1/keys", USER, b'{"name": "x"}', 403, "insufficient_scope"),
        ("/nowhere", USER, b"{}", 404, "route_not_found"),
    ],
)
def test_a_refused_request_says_why(app, path, headers, body, status, code):
    found = line(app, "POST", path, headers, body)
    assert (found["status"], found["code"]) == (status, code)


def test_a_bug_has_a_code_too(services):
    class Inference:
        async def prepare(self, *args, **kwargs):
            raise ZeroDivisionError("private")

    app = create_app(dataclasses.replace(services, inference=Inference()))
    found = line(app, "POST", TASK, USER, b'{"prompt": "x"}')
    assert (found["status"], found["code"]) == (500, "internal_error")


def test_a_request_that_went_well_has_none(app):
    assert "code" not in line(app, "GET", "/v1/models")


def test_a_stream_that_broke_off_says_why_though_its_status_was_sent(services):
    texts = Texts(None, PIECE, OutOfMemory("no room left"))
    found = line(app_with(services, texts), "POST", CHAT, USER, STREAMED)
    assert (found["status"], found["code"]) == (200, "insufficient_memory")


def test_a_stream_that_its_client_left_says_so(services):
    texts = Endless()
    found = line(app_with(services, texts), "POST", CHAT, USER, STREAMED, texts.leaves)
    assert (found["status"], found["code"]) == (200, "cancelled")


@pytest.mark.parametrize(
    ("failure", "code"),
    [(OutOfMemory("no room left"), "insufficient_memory"), (OSError("x"), "internal_error")],
)
def test_so_does_a_file_that_was_not_sent_to_its_end(services, failure, code):
    async def part() -> AsyncGenerator[bytes, None]:
        yield b"part"
        raise failure

    async def send_file(scope, receive, send) -> None:
        await ByteStream(part(), Request(scope), media_type="audio/wav")(scope, receive, send)

    found = line(RequestContext(send_file, services.metrics.http), "GET", "/")
    assert (found["status"], found["code"]) == (200, code)


@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_a_probe_that_went_well_is_no_line_of_everyday(app, path):
    assert line(app, "GET", path)["log_level"] == "debug"


def test_a_probe_that_went_wrong_is(app):
    assert line(app, "GET", "/metrics", {})["log_level"] == "info"


def test_a_familiar_route_is_logged_by_our_own_code(familiar):
    texts = Texts(failure=InsufficientCredits("nothing is left"))
    found = line(app_with(familiar, texts), "POST", "/generate", ADMIN, b'{"prompt": "Hi"}')
    assert (found["status"], found["code"]) == (403, "insufficient_credits")
