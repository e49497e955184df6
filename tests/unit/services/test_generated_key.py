"""The key that a server makes for itself, beside keys that an operator stored."""

from __future__ import annotations

import asyncio

import pytest

from onebox.core.errors import ConfigurationError
from onebox.core.settings import load_settings
from onebox.services.access.creation import create_access
from onebox.services.access.keys.generated import ADMIN_KEY_FILE, generated_key
from onebox.services.access.keys.keys import Keys
from onebox.services.database import Database, sqlite_url
from onebox.services.metrics import Metrics


@pytest.fixture
def database(tmp_path):
    opened = Database(sqlite_url(tmp_path / "onebox.db"))
    yield opened
    opened.close()


def settings(folder, **given):
    bare = {"api_keys": (), "admin_keys": (), "secret_key": None, "jwt_keys": None}
    return load_settings(root=folder, data_dir=folder, **{**bare, **given})


def store(database, **options) -> str:
    return asyncio.run(Keys(database).create("ada", **options))[1]


def test_stored_keys_do_not_end_the_generated_one(tmp_path, database):
    first = generated_key(settings(tmp_path), database)
    secret = store(database)
    again = generated_key(settings(tmp_path), database)
    assert first == again == (tmp_path / ADMIN_KEY_FILE).read_text().strip()
    access = create_access(settings(tmp_path), database, Metrics(lambda: []), again)
    enter = access.authenticator.authenticate
    assert enter(f"Bearer {first}").may("admin")
    assert not enter(f"Bearer {secret}").may("admin")


def test_a_server_that_others_reach_needs_a_key_that_can_be_used(tmp_path, database):
    public = settings(tmp_path, host="0.0.0.0")
    with pytest.raises(ConfigurationError, match="onebox keys create"):
        generated_key(public, database)
    key, _ = asyncio.run(Keys(database).create("gone"))
    asyncio.run(Keys(database).revoke(key.id))
    with pytest.raises(ConfigurationError, match="onebox keys create"):
        generated_key(public, database)
    store(database)
    assert generated_key(public, database) is None
    assert not (tmp_path / ADMIN_KEY_FILE).exists()


@pytest.mark.parametrize("given", [{"api_keys": ("a",)}, {"secret_key": "s"}, {"jwt_keys": "f"}])
def test_where_the_settings_let_somebody_in_none_is_made(tmp_path, database, given):
    assert generated_key(settings(tmp_path, **given), database) is None
    assert not (tmp_path / ADMIN_KEY_FILE).exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"jwt_keys": "jwks.json"}, "ONEBOX_JWT_AUDIENCE"),
        ({"jwt_keys": "http://id.example/keys", "jwt_audience": "a"}, "https"),
        ({"jwt_keys": "jwks.json", "jwt_audience": "a"}, "ONEBOX_JWT_KEYS=jwks.json"),
        ({"jwt_limit_claims": {"rpm": "x"}}, "ONEBOX_JWT_LIMIT_CLAIMS names rpm"),
    ],
)
def test_settings_of_tokens_that_cannot_work_stop_the_start(tmp_path, database, given, said):
    with pytest.raises(ConfigurationError, match=said):
        create_access(settings(tmp_path, **given), database, Metrics(lambda: []), None)
