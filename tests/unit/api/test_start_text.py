"""What a server prints when it is up: its key on a terminal, and not into the logs of others."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from onebox.api.server import start_text

KEY = "ob-made-by-the-server"


@pytest.fixture
def told(services, monkeypatch: pytest.MonkeyPatch):
    def tell(host: str, *, on_terminal: bool) -> str:
        settings = services.settings.model_copy(update={"host": host})
        own = dataclasses.replace(services, settings=settings, generated_key=KEY)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: on_terminal, raising=False)
        return start_text(own, 8000)

    return tell


@pytest.mark.parametrize(
    ("host", "on_terminal"), [("127.0.0.1", False), ("127.0.0.1", True), ("0.0.0.0", True)]
)
def test_the_person_at_the_terminal_sees_the_key(told, host, on_terminal):
    text = told(host, on_terminal=on_terminal)
    assert f"API key: {KEY}" in text
    assert f"Bearer {KEY}" in text


def test_the_log_of_a_public_server_holds_no_key(told):
    text = told("0.0.0.0", on_terminal=False)
    assert KEY not in text
    assert "`onebox keys show` prints" in text
    assert "Bearer $KEY" in text
