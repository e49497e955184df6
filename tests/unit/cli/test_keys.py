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


def run(*arguments: str) -> Result:
    return CliRunner().invoke(keys, list(arguments))


def test_a_key_is_made_listed_rotated_and_revoked(tmp_path: Path) -> None:
    made = run("create", "ada", "--model", "tiny-*", "--days", "1", "--daily", "pictures=3")
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    key_id, name, prefix, state, scopes, expires, used = run("list").stdout.rstrip("\n").split("\t")
    assert (name, state, scopes, used) == ("ada", "active", "infer", "-")
    assert secret.startswith(prefix)
    assert expires.endswith("Z")
    rotated = run("rotate", key_id, "--grace-hours", "0").stdout.strip()
    assert rotated.startswith("ob-")
    assert rotated != secret
    assert run("revoke", key_id).exit_code == 0
    assert run("list").stdout.split("\t")[3] == "revoked"
    assert secret not in run("list").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "ada", "--scope", "root"), "scopes must be some of"),
        (("create", "ada", "--daily", "unicorns=1"), "unknown unit"),
        (("revoke", "key_x"), "no key key_x"),
        (("rotate", "x"), "no key x"),
    ],
)
def test_what_makes_no_sense_is_explained(arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert (done.exit_code, said in done.output) == (1, True)
