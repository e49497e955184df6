"""Credits that are given by several at once."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, event

from tests.unit.services.counting import NOON, Books, in_loop


@pytest.fixture
def overtaken():
    """Another server makes the row of `key:1`, with 7 credits, right before ours does."""
    done = []

    def overtake(connection, cursor, statement, *_):
        if not done and statement.startswith("INSERT INTO credits "):
            done.append(statement)
            first = "INSERT INTO credits (caller, balance, changed_at) VALUES"
            cursor.connection.execute(f"{first} ('key:1', 7, {NOON})")

    event.listen(Engine, "before_cursor_execute", overtake)
    yield done
    event.remove(Engine, "before_cursor_execute", overtake)


@pytest.mark.parametrize(("change", "left"), [("add", 12), ("set", 5)])
def test_two_that_give_first_credits_at_the_same_moment_both_succeed(kit, overtaken, change, left):
    async def scene():
        books = Books(kit.database)
        balance = await getattr(books.credits, change)("key:1", 5)
        assert overtaken
        assert balance.credits == left == await books.balance("key:1")

    in_loop(scene())
