"""`onebox serve --check` says what would be served, and leaves nothing behind."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onebox.cli.serving import serve
from onebox.services.access.keys.generated import ADMIN_KEY_FILE
from onebox.services.data_dir import lock_data_dir
from onebox.services.database import Database, DatabaseUnusable, reach, sqlite_url
from tests.support.dummy_plugin import dummy_checkpoint

STRONG = "ob-ChtK4proSySPmsmn6U-xdZLHCs8vMsf9GuDeDZYQERQ"


@pytest.fixture(autouse=True)
def place(own_settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    models = tmp_path / "ai-models"
    models.mkdir()
    dummy_checkpoint(models / "alpha")
    for path in models.rglob("*"):
        # What has just been written may still be written to, and is not served yet.
        os.utime(path, (1, 1))
    monkeypatch.setenv("PORT", "0")
    monkeypatch.setenv("API_KEYS", STRONG)
    monkeypatch.setenv("MODEL_DIRS", str(models))
    return tmp_path


def check(*more: str) -> Result:
    return CliRunner().invoke(serve, ["--check", *more])


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_sound_server_is_told_and_nothing_is_left(place: Path) -> None:
    before = files(place)
    result = check()
    assert result.exit_code == 0, result.output
    assert "keys     1 in API_KEYS" in result.output
    assert "alpha" in result.output
    assert result.output.endswith("ALL IS WELL\n")
    assert files(place) == before


def test_what_is_wrong_is_numbered_and_ends_with_1(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEYS", "changeme")
    monkeypatch.setenv("MODEL_DIRS", str(place / "nowhere"))
    monkeypatch.setenv("ONEBOX_MAX_QEUE", "3")
    result = check("--host", "0.0.0.0")
    assert result.exit_code == 1
    problems = result.output.split("!!! PROBLEMS (2)")[1]
    assert "key 1 of API_KEYS is empty or an example's" in problems
    assert f"MODEL_DIRS: {place / 'nowhere'} does not exist" in problems
    assert "did you mean ONEBOX_MAX_QUEUE?" in result.output.split("WARNINGS")[1]


def test_a_bad_setting_is_told_with_its_name_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEBOX_MAX_QUEUE", "none")
    result = check()
    assert result.exit_code == 1
    assert "ONEBOX_MAX_QUEUE=none (in the environment): must be a whole number" in result.output


def test_a_public_address_without_a_key_is_a_problem_unless_one_is_to_be_made(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("API_KEYS")
    result = check("--host", "0.0.0.0")
    assert result.exit_code == 1
    assert "HOST=0.0.0.0 is reachable from other machines and no key is configured" in result.output
    made = check("--host", "0.0.0.0", "--make-key")
    assert made.exit_code == 0
    assert "keys     a generated one" in made.output
    assert not (place / "data" / ADMIN_KEY_FILE).exists()


def test_a_port_that_is_taken_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("PORT", str(listening.getsockname()[1]))
        result = check()
    assert result.exit_code == 1
    assert "is taken by process" in result.output


def test_a_data_folder_that_is_in_use_is_looked_at_all_the_same(place: Path) -> None:
    data = place / "data"
    data.mkdir()
    lock = lock_data_dir(data)
    database = Database(sqlite_url(data / "onebox.db"))
    try:
        before = files(place)
        result = check()
        assert files(place) == before
    finally:
        database.close()
        lock.release()
    assert result.exit_code == 0, result.output
    assert "used by a running Onebox, process" in result.output
    before = files(place)
    assert check().exit_code == 0
    assert files(place) == before


def test_a_damaged_database_is_a_problem_with_its_own_name(place: Path) -> None:
    (place / "data").mkdir()
    (place / "data" / "onebox.db").write_bytes(b"no database" * 100)
    result = check()
    assert result.exit_code == 1
    assert str(place / "data" / "onebox.db") in result.output


def test_a_key_of_an_upstream_that_is_not_there_is_a_problem(place: Path) -> None:
    (place / "onebox.toml").write_text(
        '[[upstream]]\nname = "far"\nkind = "openai"\napi_key_env = "FAR_KEY"\n'
        'models = { "far-chat" = { model = "chat" } }\n'
    )
    result = check()
    assert result.exit_code == 1
    assert "FAR_KEY" in result.output


def test_a_database_server_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEBOX_DATABASE_URL", "nowhere+driver://me:hidden-1@host/name")
    result = check()
    assert result.exit_code == 1
    assert "ONEBOX_DATABASE_URL" in result.output
    assert "hidden-1" not in result.output


def test_a_file_of_a_database_is_not_made(tmp_path: Path) -> None:
    reach(sqlite_url(tmp_path / "new.db"))
    assert files(tmp_path) & {"new.db"} == set()
    with pytest.raises(DatabaseUnusable):
        reach("nonsense")
