from __future__ import annotations

import pytest
from sqlalchemy.dialects import postgresql

from onebox.core.units import DAY_S
from onebox.services.usage.report import SumsQuery, sums_query
from tests.unit.services.counting import Books, in_loop

NOVEMBER = {"start": "2026-11-01", "end": "2026-11-30"}


@pytest.fixture
def books(kit):
    """Two keys, two models, two days of November and one of December."""
    books = Books(kit.database)

    async def fill():
        for day in (0, 1, 10):
            books.clock.now += day * DAY_S
            books.record(model="a", prompt_tokens=10)
            books.record(model="b", prompt_tokens=5)
            books.record(caller="key:2", model="a", prompt_tokens=1, status="queue_full")
        await books.ledger.flush()

    in_loop(fill())
    return books


def sums(books, **query):
    return in_loop(books.report.sums(SumsQuery(**{**NOVEMBER, **query})))


def told(books, *names, **query):
    return [tuple(row[name] for name in names) for row in sums(books, **query).rows]


def test_without_groups_there_is_one_sum(books):
    found = sums(books)
    (row,) = found.rows
    assert row == found.total
    assert (row["ended"], row["requests"], row["prompt_tokens"]) == (6, 4, 32)
    assert not found.has_more


def test_sums_are_told_apart_as_asked(books):
    assert told(books, "key", "model", "ended", group_by=("key", "model")) == [
        ("key:1", "a", 2),
        ("key:1", "b", 2),
        ("key:2", "a", 2),
    ]
    assert told(books, "status", "ended", group_by=("status",)) == [("failed", 2), ("ok", 4)]


def test_time_is_cut_into_days_or_months(books):
    assert told(books, "day", "ended", bucket="day") == [("2026-11-22", 3), ("2026-11-23", 3)]
    year = {"start": "2026-01-01", "end": "2026-12-31"}
    assert told(books, "month", "task", "ended", bucket="month", group_by=("task",), **year) == [
        ("2026-11", "chat", 6),
        ("2026-12", "chat", 3),
    ]


def test_both_days_are_included(books):
    assert sums(books, start="2026-11-22", end="2026-11-22").total["ended"] == 3
    assert sums(books, start="2026-11-23", end="2026-12-03").total["ended"] == 6
    assert sums(books, start="2026-11-24", end="2026-12-02").total["ended"] == 0


def test_one_key_model_or_task_can_be_asked_about(books):
    assert sums(books, caller="key:2").total["ended"] == 2
    assert sums(books, model="b").total["ended"] == 2
    assert sums(books, task="speech").total["ended"] == 0


def test_pages_follow_each_other(books):
    query = {"group_by": ("key", "model"), "bucket": "day", "limit": 4}
    first, second = sums(books, **query), sums(books, **query, page=2)
    assert (len(first.rows), first.has_more, len(second.rows), second.has_more) == (
        *(4, True, 2, False),
    )
    assert first.total == second.total
    whole = sums(books, **{**query, "limit": 100}).rows
    assert first.rows + second.rows == whole


def test_single_requests_are_told_newest_first(books):
    async def scene():
        first, has_more = await books.report.requests(caller=None, after=None, limit=5)
        second, is_more = await books.report.requests(caller=None, after=first[-1]["id"], limit=5)
        assert (len(first), has_more, len(second), is_more) == (5, True, 4, False)
        at = [row["at"] for row in first + second]
        assert at == sorted(at, reverse=True)
        own, _ = await books.report.requests(caller="key:2", after=None, limit=100)
        assert {row["caller"] for row in own} == {"key:2"}
        assert len(own) == 3

    in_loop(scene())


def test_sums_by_month_are_one_expression_on_postgresql_too():
    query = sums_query(SumsQuery(**NOVEMBER, bucket="month", group_by=("key",)))
    statement = str(query.compile(dialect=postgresql.dialect()))
    assert statement.count("substr(usage_days.day, 1, 7)") == 3
    assert "GROUP BY substr(usage_days.day, 1, 7), usage_days.caller" in statement
