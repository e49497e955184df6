from __future__ import annotations

import logging

import pytest
import structlog

from onebox.core.logs import configure_logs


@pytest.fixture(autouse=True)
def logs_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_a_traceback_shows_no_values_of_variables(capsys, log_format):
    configure_logs("INFO", log_format)
    prompt = "".join(["my ", "secret ", "prompt"])
    try:
        raise RuntimeError(f"{len(prompt)} characters")
    except RuntimeError:
        structlog.get_logger("test").exception("it_failed")
    written = capsys.readouterr().err
    assert "16 characters" in written
    assert "my secret prompt" not in written


def test_below_the_level_nothing_is_written(capsys):
    configure_logs("WARNING", "json")
    structlog.get_logger("test").info("quiet")
    structlog.get_logger("test").warning("loud")
    written = capsys.readouterr()
    assert "quiet" not in written.err
    assert '"event":"loud"' in written.err
    assert written.out == ""  # where a worker's frames go
