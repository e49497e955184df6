"""`onebox chat` in a terminal: turns, commands and Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.support.terminal import CTRL_C, CTRL_D, Terminal
from tests.unit.cli.chat_server import PATIENCE_S, ChatServer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")


@pytest.fixture
def terminal(server: ChatServer) -> Iterator[Terminal]:
    with Terminal("chat") as terminal:
        terminal.wait_for("> ")
        yield terminal


def messages(server: ChatServer, index: int = -1) -> list[tuple[str, str]]:
    return [(part["role"], part["content"]) for part in server.requests[index]["messages"]]


def test_a_talk_has_turns_and_ends_with_ctrl_d(server: ChatServer, terminal: Terminal) -> None:
    terminal.say("hi")
    terminal.wait_for("Hello")
    terminal.wait_for("> ")
    terminal.say("and now?")
    terminal.wait_for("Hello")
    terminal.wait_for("> ")
    assert messages(server) == [("user", "hi"), ("assistant", "Hello"), ("user", "and now?")]
    terminal.type(CTRL_D)
    assert terminal.process.wait(PATIENCE_S) == 0


def test_ctrl_c_stops_the_answer_and_the_talk_goes_on(
    server: ChatServer, terminal: Terminal
) -> None:
    server.never_ends = True
    terminal.say("count")
    terminal.wait_for("Hello")
    terminal.type(CTRL_C)
    terminal.wait_for("[stopped]")
    assert server.left.wait(PATIENCE_S)  # the connection is closed, so a server would stop
    terminal.wait_for("> ")
    server.never_ends = False
    terminal.say("go on")
    terminal.wait_for("Hello")
    assert messages(server) == [("user", "count"), ("assistant", "Hello"), ("user", "go on")]


def test_ctrl_c_while_writing_drops_the_line_only(server: ChatServer, terminal: Terminal) -> None:
    terminal.type(b"half a th")
    terminal.wait_for("half a th")
    terminal.press_until(CTRL_C, "> ")
    terminal.say("whole")
    terminal.wait_for("Hello")
    assert messages(server) == [("user", "whole")]


def test_commands_reset_the_talk_and_set_the_rules(server: ChatServer, terminal: Terminal) -> None:
    terminal.say("hi")
    terminal.wait_for("Hello")
    terminal.wait_for("> ")
    terminal.say("/reset")
    terminal.wait_for("forgotten")
    terminal.say("/system be kind")
    terminal.wait_for("rules are set")
    terminal.say("/what")
    terminal.wait_for("/quit")
    terminal.say("you?")
    terminal.wait_for("Hello")
    assert messages(server) == [("system", "be kind"), ("user", "you?")]
    assert len(server.requests) == 2
    terminal.say("/quit")
    assert terminal.process.wait(PATIENCE_S) == 0


def test_pasted_lines_are_one_message(server: ChatServer, terminal: Terminal) -> None:
    terminal.type(b"one\ntwo\nthree\n")
    terminal.wait_for("Hello")
    assert messages(server) == [("user", "one\ntwo\nthree")]


def test_an_error_is_a_line_and_its_turn_is_taken_back(
    server: ChatServer, terminal: Terminal
) -> None:
    server.error = {"status": 503, "message": "busy"}
    terminal.say("hi")
    terminal.wait_for("error: busy")
    terminal.wait_for("> ")
    server.error = None
    terminal.say("again")
    terminal.wait_for("Hello")
    assert messages(server) == [("user", "again")]


def test_an_answer_cannot_drive_the_terminal(server: ChatServer, terminal: Terminal) -> None:
    server.pieces = ["\x1b]0;title\x07", "a\x9bb", "\tc\nd"]
    terminal.say("hi")
    terminal.wait_for("c\r\nd")
    terminal.wait_for("> ")
    answer = terminal.seen.partition("hi\r\n")[2]
    assert "\x1b]" not in answer
    assert "\x07" not in answer
    assert "\x9b" not in answer
