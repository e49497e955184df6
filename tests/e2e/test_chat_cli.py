"""`onebox chat` and `onebox list` as a person uses them, on real weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.conftest import APP, CHAT_MODEL
from tests.support.asking import running_requests
from tests.support.server import API_KEY, Server
from tests.support.talking import wait_until_idle
from tests.support.terminal import CTRL_C, PATIENCE_S, Terminal

PARIS = "Tell me the capital of France in one short sentence."
in_a_terminal = pytest.mark.skipif(sys.platform == "win32", reason="Windows has none to test with")


@pytest.fixture
def talk(chat_server: Server) -> Iterator[Terminal]:
    options = ("--url", chat_server.url, "--key", API_KEY, "--temperature", "0")
    with Terminal("chat", CHAT_MODEL, *options) as terminal:
        terminal.wait_for(f"talking with {CHAT_MODEL}")
        terminal.wait_for("> ")
        yield terminal


@in_a_terminal
def test_a_talk_streams_is_stopped_goes_on_and_ends(talk: Terminal, chat: httpx.Client) -> None:
    talk.say(PARIS)
    talk.wait_for("Paris")
    talk.wait_for("> ")
    talk.say("Write a very long story about a cat and a dog.")
    talk.wait_for("dog.\r\n")
    talk.wait_for(" cat ")
    assert len(running_requests(chat)) == 1
    talk.type(CTRL_C)
    talk.wait_for("[stopped]")
    talk.wait_for("> ")
    wait_until_idle(chat)
    talk.say("/reset")
    talk.wait_for("forgotten")
    talk.wait_for("> ")
    talk.say(PARIS)
    talk.wait_for("Paris")
    talk.wait_for("> ")
    talk.say("/quit")
    assert talk.process.wait(PATIENCE_S) == 0


def test_a_piped_question_gets_the_answer_and_nothing_else(chat_server: Server) -> None:
    options = ("--url", chat_server.url, "--key", API_KEY, "--temperature", "0")
    done = subprocess.run(
        [*APP, "chat", CHAT_MODEL, *options],
        input=PARIS,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert "Paris" in line


def test_without_a_name_it_asks_which_of_several_models(chat_server: Server) -> None:
    done = subprocess.run(
        [*APP, "chat", "--url", chat_server.url, "--key", API_KEY],
        input=PARIS,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert CHAT_MODEL in done.stderr
    assert "onebox-shapes" not in done.stderr
