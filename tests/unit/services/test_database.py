from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from onebox.services import database as module
from onebox.services.database import Database, DatabaseUnusable, migrate, sqlite_url, stamp_of
from onebox.services.migrations import HEAD
from onebox.services.tables import METADATA

ADD = text("INSERT INTO t VALUES (:n)")
COUNT = text("SELECT count(*) FROM t")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "onebox.db"


@pytest.fixture
def database(path):
    opened = Database(sqlite_url(path))
    yield opened
    opened.close()


def make_table(connection):
    connection.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)"))


def add(number):
    return lambda connection: connection.execute(ADD, {"n": number})


def count(connection):
    return connection.execute(COUNT).scalar()


def test_an_empty_database_gets_the_tables_of_this_version(database):
    def found(connection):
        differences = compare_metadata(MigrationContext.configure(connection), METADATA)
        return stamp_of(connection), differences

    assert database.write_now(found) == (HEAD, [])


def test_the_steps_lead_to_the_one_that_is_called_the_newest():
    scripts = ScriptDirectory(str(Path(module.__file__).with_name("migrations")))
    steps = [script.revision for script in scripts.walk_revisions()][::-1]
    assert scripts.get_current_head() == HEAD == steps[-1]
    # A newer database is known by its number.
    assert steps == sorted(steps)
    assert len({len(step) for step in steps}) == 1


def test_every_step_can_be_taken_from_the_one_before(tmp_path):
    scripts = ScriptDirectory(str(Path(module.__file__).with_name("migrations")))
    for script in scripts.walk_revisions():
        path = tmp_path / f"{script.revision}.db"
        engine = create_engine(sqlite_url(path))
        with engine.begin() as connection:
            migrate(connection, script.revision)
            assert stamp_of(connection) == script.revision
        engine.dispose()
        opened = Database(sqlite_url(path))
        assert opened.write_now(stamp_of) == HEAD
        opened.close()


def test_what_was_written_is_there_when_it_is_opened_again(path):
    first = Database(sqlite_url(path))
    first.write_now(make_table)
    first.write_now(add(1))
    first.close()
    second = Database(sqlite_url(path))
    assert asyncio.run(second.read(count)) == 1
    second.close()


def test_a_newer_database_is_not_touched(path):
    Database(sqlite_url(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(DatabaseUnusable, match=r"newer Onebox: it is at step 9999"):
        Database(sqlite_url(path))
    assert path.read_bytes() == before


def test_a_damaged_database_is_not_replaced(path):
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(DatabaseUnusable, match=r"onebox.db cannot be used"):
        Database(sqlite_url(path))
    assert path.read_bytes() == b"not a database" * 100


def test_a_step_that_fails_leaves_nothing_behind(path, monkeypatch):
    def fail(connection):
        make_table(connection)
        raise DatabaseUnusable("no")

    monkeypatch.setattr(module, "_bring_up_to_date", fail)
    with pytest.raises(DatabaseUnusable):
        Database(sqlite_url(path))
    monkeypatch.undo()
    opened = Database(sqlite_url(path))
    assert opened.write_now(lambda c: inspect(c).has_table("t")) is False
    opened.close()


@pytest.mark.parametrize("url", ["", "nonsense", "oracle9://x/y"])
def test_a_url_that_is_none_is_told_without_repeating_it(url):
    with pytest.raises(DatabaseUnusable, match="ONEBOX_DATABASE_URL is not") as caught:
        Database(url)
    assert url == "" or url not in str(caught.value)


def test_a_missing_driver_is_named():
    with pytest.raises(DatabaseUnusable, match="needs the Python package MySQLdb"):
        Database("mysql+mysqldb://user:secret@host/name")


def test_the_tables_can_be_made_by_postgresql_too():
    texts = [
        str(CreateTable(table).compile(dialect=postgresql.dialect()))
        for table in METADATA.sorted_tables
    ]
    assert any("BYTEA" in text for text in texts)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_only_its_owner_may_read_the_file(database, path):
    database.write_now(make_table)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_it_is_as_safe_as_sqlite_can_be(database):
    def settings(connection):
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert database.write_now(settings) == ["wal", 2, 1, 10_000]


def test_work_that_fails_is_undone_whole(database):
    database.write_now(make_table)

    def fail(connection):
        add(1)(connection)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        database.write_now(fail)
    assert asyncio.run(database.read(count)) == 0


def test_many_writers_wait_their_turn(database):
    database.write_now(make_table)

    def count_and_add(connection):
        # A read before the write is what makes writers collide.
        add(count(connection))(connection)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(database.write_now, count_and_add) for _ in range(40)]:
            done.result()
    assert asyncio.run(database.read(count)) == 40


def test_what_is_written_later_is_written_before_it_closes(path, database):
    database.write_now(make_table)
    for number in range(20):
        database.write_soon(add(number))
    database.write_soon(lambda _: 1 / 0)
    database.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (20,)
    connection.close()


def test_work_goes_on_when_whoever_awaits_it_is_cancelled(database):
    database.write_now(make_table)

    async def leave() -> None:
        waiting = asyncio.ensure_future(database.write(add(1)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})

    asyncio.run(leave())
    # Its thread may still be at it; this one waits for the lock.
    database.close()
    assert database.write_now(count) == 1


def test_a_database_that_is_up_to_date_needs_no_alembic(path):
    Database(sqlite_url(path)).close()
    code = (
        "import sys; from onebox.services.database import Database, sqlite_url;"
        "Database(sqlite_url(sys.argv[1])).close();"
        "raise SystemExit('alembic' in sys.modules)"
    )
    source = str(Path(module.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=environment, timeout=60, check=False
    )
    assert done.returncode == 0
