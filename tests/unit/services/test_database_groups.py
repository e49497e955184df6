"""Writes that wait for the disk at the same time share a transaction, and fail apart."""

from __future__ import annotations

import asyncio
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from onebox.services.database import GROUP, Database, sqlite_url


@pytest.fixture
def database(tmp_path):
    opened = Database(sqlite_url(tmp_path / "onebox.db"))
    opened.write_now(lambda c: c.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)")))
    yield opened
    opened.close()


def add(number):
    return lambda connection: connection.execute(text(f"INSERT INTO t VALUES ({number})"))


def numbers(connection):
    return list(connection.execute(text("SELECT n FROM t ORDER BY n")).scalars())


async def together(database, *works):
    """What became of writes that all waited when the writer was free again."""
    begun, go = threading.Event(), threading.Event()

    def hold(_):
        begun.set()
        go.wait(60)

    holding = asyncio.ensure_future(database.write(hold))
    await asyncio.to_thread(begun.wait, 60)
    waiting = [asyncio.ensure_future(database.write(work)) for work in works]
    # Each task goes as far as its write.
    await asyncio.sleep(0)
    go.set()
    await holding
    return await asyncio.gather(*waiting, return_exceptions=True)


def test_those_that_wait_share_a_transaction(database):
    # Their names stay theirs as long as the list holds them.
    seen = asyncio.run(together(database, *[lambda connection: connection] * 10))
    assert len({id(connection) for connection in seen}) == 1


def test_a_group_has_a_bound(database):
    works = [lambda connection: connection] * (GROUP + 1)
    seen = asyncio.run(together(database, *works))
    assert len({id(connection) for connection in seen}) == 2


def test_each_gets_its_own_answer(database):
    works = [lambda _, n=n: n for n in range(20)]
    assert asyncio.run(together(database, *works)) == list(range(20))


def test_one_that_fails_is_undone_alone(database):
    def fail(connection):
        add(2)(connection)
        raise ValueError("no")

    first, failed, last = asyncio.run(together(database, add(1), fail, add(3)))
    assert isinstance(failed, ValueError)
    assert not isinstance(first, Exception)
    assert not isinstance(last, Exception)
    assert asyncio.run(database.read(numbers)) == [1, 3]


def test_one_that_breaks_a_rule_of_the_database_fails_alone(database):
    _, failed, _ = asyncio.run(together(database, add(1), add(1), add(2)))
    assert isinstance(failed, IntegrityError)
    assert asyncio.run(database.read(numbers)) == [1, 2]


def test_what_cannot_be_committed_fails_for_all(database):
    def make(connection):
        connection.execute(
            text("CREATE TABLE u (n REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)")
        )

    database.write_now(make)

    def orphan(connection):
        connection.execute(text("INSERT INTO u VALUES (404)"))

    outcomes = asyncio.run(together(database, add(1), orphan, add(2)))
    assert [type(outcome) for outcome in outcomes] == [IntegrityError] * 3
    assert asyncio.run(database.read(numbers)) == []


def test_what_cannot_be_undone_fails_for_all(database):
    def lose(connection):
        # As SQLite does by itself when the disk is full.
        connection.exec_driver_sql("ROLLBACK")
        raise ValueError("no")

    outcomes = asyncio.run(together(database, add(1), lose, add(2)))
    assert [type(outcome) for outcome in outcomes] == [OperationalError] * 3
    assert asyncio.run(database.read(numbers)) == []


def test_one_that_waits_is_done_also_when_nobody_waits_for_it(database):
    async def leave():
        begun, go = threading.Event(), threading.Event()

        def hold(_):
            begun.set()
            go.wait(60)

        holding = asyncio.ensure_future(database.write(hold))
        await asyncio.to_thread(begun.wait, 60)
        waiting = asyncio.ensure_future(database.write(add(1)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        go.set()
        await holding
        # Writes are done in the order in which they came.
        return await database.write(numbers)

    assert asyncio.run(leave()) == [1]
