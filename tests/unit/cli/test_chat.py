"""`onebox chat` with a message piped in."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onebox.cli import main
from tests.unit.cli.chat_server import KEY, ChatServer

CLOSED = "http://127.0.0.1:1"


def chat(*arguments: str, message: str = "hi") -> Result:
    return CliRunner().invoke(main, ["chat", *arguments], input=message)


def test_what_is_piped_in_is_answered(server: ChatServer) -> None:
    done = chat()
    assert (done.exit_code, done.stdout, done.stderr) == (0, "Hello\n", "")
    (request,) = server.requests
    assert request == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
    }


def test_options_travel_with_the_request(server: ChatServer) -> None:
    done = chat("tiny", "--temperature", "0", "--max-tokens", "5", "--system", "be short")
    assert done.exit_code == 0
    (request,) = server.requests
    assert (request["temperature"], request["max_tokens"]) == (0, 5)
    assert request["messages"][0] == {"role": "system", "content": "be short"}


def test_several_lines_are_one_message(server: ChatServer) -> None:
    chat(message="one\ntwo\n")
    assert server.requests[0]["messages"][0]["content"] == "one\ntwo"


def test_no_message_is_an_error(server: ChatServer) -> None:
    done = chat(message=" \n")
    assert done.exit_code == 1
    assert server.requests == []


def test_without_a_server_it_says_how_to_start_one() -> None:
    done = chat("--url", CLOSED)
    assert done.exit_code == 1
    assert "python3 app.py" in done.stderr


def test_several_models_are_named_when_none_was(server: ChatServer) -> None:
    server.models |= {"other": ["chat"], "pictures": ["text-to-image"]}
    done = chat()
    assert done.exit_code == 1
    assert "tiny, other" in done.stderr
    assert "pictures" not in done.stderr
    assert chat("other").exit_code == 0
    assert server.requests[0]["model"] == "other"


def test_a_model_that_cannot_chat_is_refused_by_name(server: ChatServer) -> None:
    server.models["pictures"] = ["text-to-image"]
    done = chat("pictures")
    assert done.exit_code == 1
    assert "pictures cannot chat" in done.stderr


def test_no_chat_model_at_all_points_to_the_starter(server: ChatServer) -> None:
    server.models.clear()
    assert "onebox pull starter" in chat().stderr


def test_an_unknown_model_lists_the_known_ones(server: ChatServer) -> None:
    done = chat("tine")
    assert "no model tine" in done.stderr
    assert "tiny" in done.stderr


@pytest.mark.parametrize("error", [{"status": 503, "message": "busy"}, {"message": "busy"}])
def test_an_error_before_or_inside_the_stream_is_one_line(
    server: ChatServer, error: dict[str, object]
) -> None:
    server.error = error
    done = chat()
    assert done.exit_code == 1
    assert done.stderr == "Error: busy\n"


def test_a_key_that_is_refused_is_told_with_the_remedy() -> None:
    done = chat("--key", "wrong")
    assert done.exit_code == 1
    assert "--key" in done.stderr


def test_the_generated_key_is_used_when_none_is_configured(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEYS", "")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "admin.key").write_text(KEY + "\n")
    assert chat().exit_code == 0
    assert chat("--url", server.url + "/v1/").exit_code == 0


def test_a_port_that_nobody_knows_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "0")
    assert "--url" in chat().stderr
