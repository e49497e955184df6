from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import pytest
import structlog

from onebox.core.log_file import LogFile, LogFilePlan
from onebox.core.log_settings import log_file_plan
from onebox.core.logs import Origin, configure_logs, current_origin, logged_for
from onebox.core.settings import Settings


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


@pytest.fixture
def log_file(tmp_path):
    return LogFile(LogFilePlan(str(tmp_path / "onebox.log"), 10**6, 1))


def in_the_file(log_file):
    log_file.open()
    log_file.close()
    return [json.loads(line) for line in log_file.path.read_text().splitlines()]


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_the_file_has_json_whatever_the_console_shows(capsys, log_file, log_format):
    configure_logs("INFO", log_format, log_file)
    structlog.get_logger("test").info("said", number=7)
    logging.getLogger("a.library").warning("of %s", "others")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger("test").exception("it_failed")
    console = capsys.readouterr().err
    assert "said" in console
    assert console.lstrip().startswith("{") == (log_format == "json")
    ours, theirs, failed = in_the_file(log_file)
    assert (ours["event"], ours["number"], ours["level"]) == ("said", 7, "info")
    assert (theirs["event"], theirs["level"]) == ("of others", "warning")
    assert "RuntimeError: broken" in failed["exception"]


def test_a_line_about_one_request_carries_its_ids(capsys):
    configure_logs("INFO", "json")
    with logged_for([SimpleNamespace(origin=Origin("r1", "job-1"))]):
        structlog.get_logger("test").info("inside")
    structlog.get_logger("test").info("outside")
    inside, outside = map(json.loads, capsys.readouterr().err.splitlines())
    assert (inside["request_id"], inside["job"]) == ("r1", "job-1")
    assert "request_id" not in outside


def test_a_line_about_a_batch_carries_the_ids_of_all_that_are_in_it_by_then(capsys):
    configure_logs("INFO", "json")
    works = []
    with logged_for(works):
        works += [SimpleNamespace(origin=Origin(name)) for name in ("r1", "r2", "r1")]
        structlog.get_logger("test").info("inside")
    line = json.loads(capsys.readouterr().err)
    assert line["request_ids"] == ["r1", "r2"]
    assert "jobs" not in line


def test_what_the_gateway_works_on_is_what_its_lines_say(capsys):
    assert current_origin() == Origin()
    with structlog.contextvars.bound_contextvars(request_id="r1", job="job-1"):
        assert current_origin() == Origin("r1", "job-1")


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("auto", "data/logs/onebox.log"),
        ("elsewhere/a.log", "elsewhere/a.log"),
        ("off", None),
    ],
)
def test_where_the_file_lies_is_a_setting(tmp_path, wanted, path):
    settings = Settings(root=tmp_path, data_dir=tmp_path / "data", log_file=wanted)
    plan = log_file_plan(settings)
    if path is None:
        assert plan is None
    else:
        assert plan == LogFilePlan(str(tmp_path / path), 10_000_000, 5)


HOSTILE = "\x1b[2J \x9b31m\r\nforged \u202e\x07"


@pytest.mark.parametrize("logs", [structlog.get_logger, logging.getLogger], ids=["ours", "theirs"])
def test_texts_of_clients_cannot_write_on_a_terminal_what_they_like(capsys, logs):
    configure_logs("INFO", "human")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        if logs is logging.getLogger:
            logs("library").exception("told %s", HOSTILE)
        else:
            logs().exception(HOSTILE, caller=HOSTILE, callers=[HOSTILE])
    told = capsys.readouterr().err
    for text in ("\x1b[2J", "\x9b", "\r", "\u202e", "\x07"):
        assert text not in told
    assert r"\x1b[2J \x9b31m\r\nforged \u202e\x07" in told.splitlines()[0]


def test_half_a_character_of_a_client_is_logged_and_raises_nothing(capsys):
    configure_logs("INFO", "json")
    structlog.get_logger().info("told", text="\ud800")
    assert json.loads(capsys.readouterr().err)["text"] == "\ud800"
