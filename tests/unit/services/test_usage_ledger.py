from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.dialects import postgresql

from onebox.core.errors import StorageFull
from onebox.core.units import DAY_S
from onebox.services.usage import rows
from onebox.services.usage.usage import Amounts
from tests.unit.services.counting import Books, in_loop, used


@pytest.fixture
def books(kit):
    return Books(kit.database)


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


def test_each_request_is_a_row_and_is_in_the_sums_of_its_day(books):
    async def scene():
        books.record(prompt_tokens=10, completion_tokens=3, device_seconds=1.5)
        books.record(prompt_tokens=5, completion_tokens=1, device_seconds=0.5)
        books.record(status="worker_lost", device_seconds=2)
        books.record(status="cancelled", completion_tokens=4)
        await books.ledger.flush()
        assert await books.count() == 4
        by_status = {row["status"]: row for row in await books.sums()}
        ok = by_status["ok"]
        assert (ok["day"], ok["caller"], ok["task"], ok["model"]) == (
            *("2026-11-22", "key:1", "chat", "smol"),
        )
        assert (ok["ended"], ok["requests"], ok["prompt_tokens"]) == (2, 2, 15)
        assert (ok["completion_tokens"], ok["device_seconds"]) == (4, 2.0)
        failed, cancelled = by_status["failed"], by_status["cancelled"]
        assert (failed["ended"], failed["requests"], failed["device_seconds"]) == (1, 0, 2)
        assert (cancelled["ended"], cancelled["completion_tokens"]) == (1, 4)

    in_loop(scene())


def test_later_groups_are_added_to_the_same_sums(books):
    async def scene():
        for _ in range(3):
            books.record(pictures=2)
            books.record(caller="key:2", pictures=1)
            await books.ledger.flush()
        assert [(row["caller"], row["pictures"]) for row in await books.sums()] == [
            ("key:1", 6),
            ("key:2", 3),
        ]

    in_loop(scene())


@pytest.mark.parametrize("failure", ["before", "after"])
def test_a_database_that_fails_loses_and_doubles_nothing(books, failure):
    """Also when the failure is told of what was in fact written."""

    async def scene():
        told = []
        books.ledger.listeners.append(told.extend)
        await books.credits.set("key:1", 100)
        books.database.failures = [failure, failure]
        await books.ledger.start()
        sent = [books.record(credits=1, pictures=1) for _ in range(3)]
        await until(lambda: told)
        sent.append(books.record(credits=1, pictures=1))
        await books.ledger.close()
        assert await books.count() == 4
        assert [row["pictures"] for row in await books.sums()] == [4]
        assert await books.balance("key:1") == 96
        assert [usage.id for usage in told] == [usage.id for usage in sent]

    in_loop(scene())


def test_the_end_of_the_server_waits_until_all_is_written(books):
    async def scene():
        await books.ledger.start()
        for _ in range(1200):
            books.record()
        await books.ledger.close()
        assert (await books.count(), len(books.ledger)) == (1200, 0)

    in_loop(scene())


def test_the_end_of_the_server_does_not_wait_for_ever(books):
    async def scene():
        await books.ledger.start()
        books.record()
        books.database.failures = ["before"] * 20
        await books.ledger.close()
        assert (await books.count(), len(books.ledger)) == (0, 1)

    in_loop(scene())


def test_no_request_is_taken_on_while_too_many_rows_cannot_be_written(kit):
    books = Books(kit.database, max_waiting=2)
    books.record()
    books.ledger.require_room()
    books.record()
    with pytest.raises(StorageFull, match=r"the usage of 2 requests could not be written"):
        books.ledger.require_room()
    in_loop(books.ledger.flush())
    books.ledger.require_room()


def test_one_listener_that_fails_hides_nothing_from_the_others(books):
    async def scene():
        told = []
        books.ledger.listeners += [lambda group: 1 / 0, told.extend]
        usage = books.record()
        await books.ledger.flush()
        assert [one.id for one in told] == [usage.id]

    in_loop(scene())


def test_tokens_are_told_of_at_once(books):
    told = []
    books.ledger.used_tokens = lambda caller, count: told.append((caller, count))
    books.record(prompt_tokens=30, completion_tokens=4)
    books.record(pictures=1)
    assert told == [("key:1", 34)]


def test_names_that_a_database_does_not_take_stop_nobody(books):
    async def scene():
        books.record(caller="jwt:a\0b", model="file-\udcff")
        await books.ledger.flush()
        (row,) = await books.sums()
        assert (row["caller"], row["model"]) == ("jwt:a�b", "file-?")

    in_loop(scene())


def test_servers_that_write_at_the_same_time_add_to_the_same_sums(kit):
    async def scene():
        every = [Books(kit.database) for _ in range(4)]
        await every[0].credits.set("key:0", 1000)
        for round_number in range(5):
            for books in every:
                for n in range(20):
                    books.record(caller=f"key:{(n + round_number) % 7}", credits=1)
            await asyncio.gather(*[books.ledger.flush() for books in every])
        sums = await every[0].sums()
        assert sum(row["ended"] for row in sums) == await every[0].count() == 400
        (own,) = (row for row in sums if row["caller"] == "key:0")
        assert await every[0].balance("key:0") == 1000 - own["ended"]

    in_loop(scene())


def test_rows_are_deleted_after_their_time_and_sums_stay(kit):
    books = Books(kit.database, ttl_days=90)

    async def scene():
        for _ in range(rows.CHUNK + 1):
            books.record()
        await books.ledger.flush()
        books.clock.now += 89 * DAY_S
        books.record()
        await books.ledger.flush()
        await books.upkeep.expire()
        assert await books.count() == rows.CHUNK + 2
        books.clock.now += 2 * DAY_S
        await books.upkeep.expire()
        assert await books.count() == 1
        assert [row["ended"] for row in await books.sums()] == [rows.CHUNK + 1, 1]

    in_loop(scene())


def test_rows_are_kept_for_ever_where_that_is_wanted(books):
    async def scene():
        books.record()
        await books.ledger.flush()
        books.clock.now += 10_000 * DAY_S
        await books.upkeep.expire()
        assert await books.count() == 1

    in_loop(scene())


def test_the_sums_are_added_to_in_one_statement_on_postgresql_too():
    statement = str(rows.adding_on("postgresql").compile(dialect=postgresql.dialect()))
    assert "ON CONFLICT (day, caller, task, model, status) DO UPDATE SET ended =" in statement
    assert "pictures = (usage_days.pictures + excluded.pictures)" in statement


def test_servers_on_one_database_take_the_rows_of_the_sums_in_one_order():
    group = [used(caller=f"key:{n}") for n in (3, 1, 2)]
    assert [row["caller"] for row in rows._sums_of(group)] == ["key:1", "key:2", "key:3"]


def test_amounts_add_up():
    one = Amounts(requests=1, prompt_tokens=2, credits=0.5)
    assert one + one == one.times(2) == Amounts(requests=2, prompt_tokens=4, credits=1.0)
    assert one - one == Amounts()
