"""The key that a server makes for itself, where others can reach it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from onebox.core.errors import ConfigurationError
from onebox.core.settings import Settings
from onebox.services.access.keys.generated import ADMIN_KEY_FILE, generated_key
from onebox.services.database import Database, sqlite_url


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(sqlite_url(tmp_path / "onebox.db"))
    yield opened
    opened.close()


@pytest.fixture
def public(tmp_path: Path) -> Settings:
    nobody = {"api_keys": (), "admin_keys": (), "secret_key": None}
    return Settings(root=tmp_path, data_dir=tmp_path, host="0.0.0.0", **nobody)


def test_a_public_server_makes_none_of_its_own_accord(public, database, tmp_path):
    with pytest.raises(ConfigurationError, match="no key is configured"):
        generated_key(public, database)
    assert not (tmp_path / ADMIN_KEY_FILE).exists()


def test_one_that_its_owner_expects_is_made_once_and_kept(public, database, tmp_path):
    made = generated_key(public, database, may_make=True)
    assert made
    assert (tmp_path / ADMIN_KEY_FILE).read_text(encoding="utf-8").strip() == made
    assert generated_key(public, database, may_make=True) == made
    assert generated_key(public, database) == made
