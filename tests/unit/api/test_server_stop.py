from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterator

import pytest
import uvicorn
from structlog.testing import capture_logs

from onebox.api.server import OneboxServer
from onebox.services.drain import Drain
from tests.unit.api.asking import USER, ask


@pytest.fixture
def server(app, services) -> Iterator[OneboxServer]:
    """One with a way out of its own: it can be gone once only."""
    drain = Drain(services.admission, services.running, services.pool)
    own = dataclasses.replace(services, drain=drain)
    app.state.services = own
    yield OneboxServer(uvicorn.Config(app), own)
    app.state.services = services


def test_a_signal_ends_the_server_also_in_the_middle_of_a_line_of_log(server):
    """The line that it interrupts holds the log's lock: to log there would wait for ever."""
    with capture_logs() as logged:
        server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
    assert not server.force_exit
    assert logged == []


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_means_at_once(server, second):
    server.handle_exit(signal.SIGTERM, None)
    server.handle_exit(second, None)
    assert server.force_exit


def test_a_signal_is_seen_by_load_balancers_at_once_and_by_nobody_else(app, server):
    server.handle_exit(signal.SIGTERM, None)
    ready = ask(app, "GET", "/ready")
    assert ready.status == 503
    assert ready.error["code"] == "shutting_down"
    assert ready.error["details"] == {"reasons": ["draining"]}
    assert ask(app, "GET", "/health").status == 200
    for path in ("/v1/status", "/v1/jobs", "/v1/models"):
        assert ask(app, "GET", path, USER).status == 200
