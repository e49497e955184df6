"""What is stored of conversations shows up in no log."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import traceback

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from onebox.services import response_rows
from onebox.services.database import Database, sqlite_url
from onebox.services.response_rows import Conversation, StoredResponse
from onebox.services.response_store import ResponseStore

SECRET = "a-secret-of-the-caller"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "onebox.db"


@pytest.fixture
def database(path):
    opened = Database(sqlite_url(path))
    yield opened
    opened.close()


def response(response_id="resp_1", previous=None, **body):
    return StoredResponse(
        id=response_id,
        caller="key:a",
        status="completed",
        created_at=1.0,
        previous_id=previous,
        body={"id": response_id, **body},
        input=({"id": "msg_1", "type": "message", "text": SECRET},),
    )


def test_an_error_of_the_database_does_not_hold_what_was_to_be_stored(database):
    """Such an error is logged."""
    store = ResponseStore(database, ttl_days=0, max_bytes=10**9)
    asyncio.run(store.insert(response(), Conversation()))
    with pytest.raises(DBAPIError) as caught:
        asyncio.run(store.insert(response(instructions=SECRET), Conversation()))
    assert "INSERT INTO responses" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_what_fails_without_anybody_waiting_is_logged_without_it(database):
    store = ResponseStore(database, ttl_days=0, max_bytes=10**9)
    asyncio.run(store.insert(response(), Conversation()))
    with capture_logs() as logged:
        store.insert_soon(response(instructions=SECRET), Conversation())
        database.close()
    (entry,) = logged
    assert entry["event"] == "not_written"
    assert SECRET not in "".join(traceback.format_exception(entry["exc_info"]))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_the_files_of_the_database_are_for_their_owner_alone(path, database):
    store = ResponseStore(database, ttl_days=0, max_bytes=10**9)
    asyncio.run(store.insert(response(), Conversation()))
    modes = {
        name: stat.S_IMODE(os.stat(path.parent / name).st_mode) for name in os.listdir(path.parent)
    }
    assert {"onebox.db", "onebox.db-wal"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def test_a_conversation_is_loaded_up_to_a_size_only(database, monkeypatch):
    store = ResponseStore(database, ttl_days=0, max_bytes=10**9)
    asyncio.run(store.insert(response("resp_1"), Conversation()))
    asyncio.run(store.insert(response("resp_2", "resp_1", x="y" * 1000), Conversation()))
    assert len(asyncio.run(store.conversation("resp_2", "key:a")).items) == 2
    monkeypatch.setattr(response_rows, "MAX_BYTES", 1000)
    with pytest.raises(response_rows.InvalidInput, match="more than 1000 bytes") as caught:
        asyncio.run(store.conversation("resp_2", "key:a"))
    assert caught.value.param == "previous_response_id"
    assert len(asyncio.run(store.conversation("resp_1", "key:a")).items) == 1


def test_an_id_is_a_value_and_no_part_of_a_statement(database):
    store = ResponseStore(database, ttl_days=0, max_bytes=10**9)
    asyncio.run(store.insert(response(), Conversation()))
    for sly in ("' OR 1=1 --", "resp_1' --", "resp_%", "resp_\0", "x'; DROP TABLE responses; --"):
        with pytest.raises(response_rows.ResponseNotFound):
            asyncio.run(store.get(sly, "key:a"))
        assert asyncio.run(store.item(sly, "key:a")) is None
    assert database.write_now(lambda c: c.execute(text("SELECT count(*) FROM responses")).scalar())
