"""What `onebox keys` shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onebox.cli.keys import keys
from onebox.services.webhooks.signing import webhook_secret


def show() -> Result:
    return CliRunner().invoke(keys, ["webhook"])


def test_the_secret_of_webhooks_is_the_one_that_the_server_made(tmp_path: Path) -> None:
    assert "start the server once" in show().output
    assert show().exit_code == 1
    data_dir = tmp_path / "data"
    assert not data_dir.exists()
    data_dir.mkdir()
    made = webhook_secret(None, data_dir)
    assert (show().output.strip(), show().exit_code) == (made, 0)


def test_a_configured_secret_of_webhooks_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEBOX_WEBHOOK_SECRET", "whsec_configured")
    assert show().output.strip() == "whsec_configured"
