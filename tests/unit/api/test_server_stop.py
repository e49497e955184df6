from __future__ import annotations

import signal

import uvicorn
from structlog.testing import capture_logs

from onebox.api.server import OneboxServer


def test_a_signal_ends_the_server_also_in_the_middle_of_a_line_of_log(app, services):
    """The line that it interrupts holds the log's lock: to log there would wait for ever."""
    server = OneboxServer(uvicorn.Config(app), services)
    with capture_logs() as logged:
        server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
    assert logged == []
