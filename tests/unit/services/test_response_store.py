from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from onebox.core.errors import InvalidInput
from onebox.services.database import Database, sqlite_url
from onebox.services.response_rows import (
    Conversation,
    PreviousResponseNotFound,
    ResponseNotFound,
    StoredResponse,
)
from onebox.services.response_store import DAY_S, PURGE_EVERY_S, ResponseStore
from tests.support.clock import Clock

NOTHING = Conversation()


@pytest.fixture
def clock():
    return Clock(1e9)


@pytest.fixture
def database(tmp_path):
    opened = Database(sqlite_url(tmp_path / "onebox.db"))
    yield opened
    opened.close()


@pytest.fixture
def store(database, clock):
    return ResponseStore(database, ttl_days=30, max_bytes=10**9, clock=clock)


def message(name, role="user", size=1):
    return {"id": f"msg_{name}", "type": "message", "role": role, "content": "x" * size}


def response(name, caller="one", previous=None, status="completed", size=1):
    return StoredResponse(
        id=name,
        caller=caller,
        status=status,
        created_at=5.0,
        previous_id=previous,
        body={"id": name, "status": status},
        input=(message(f"{name}_in", size=size),),
        output=(message(f"{name}_out", role="assistant"),),
    )


def put(store, *responses):
    async def run() -> None:
        for one in responses:
            chain = NOTHING
            if one.previous_id:
                chain = await store.conversation(one.previous_id, one.caller)
            await store.insert(one, chain)

    asyncio.run(run())


def get(store, name, caller="one"):
    return asyncio.run(store.get(name, caller))


def is_there(store, name, caller="one"):
    try:
        return get(store, name, caller).id == name
    except ResponseNotFound:
        return False


def test_what_was_put_comes_back(store):
    put(store, response("a"))
    assert get(store, "a") == response("a")
    assert get(store, "a").public()["output"] == [message("a_out", role="assistant")]


def test_status_and_output_are_replaced(store):
    put(store, response("a", status="queued"))
    asyncio.run(store.replace(response("a")))
    assert get(store, "a") == response("a")


def test_a_deleted_one_is_not_brought_back(store, database):
    put(store, response("a", status="queued"))
    asyncio.run(store.delete("a", "one"))
    asyncio.run(store.replace(response("a")))
    assert not is_there(store, "a")
    left = text("SELECT count(*) FROM response_items")
    assert database.write_now(lambda c: c.execute(left).scalar()) == 0


@pytest.mark.parametrize("name", ["a", "unknown"])
def test_of_others_nothing_can_be_found_out(store, name):
    put(store, response("a"))
    for ask in (store.get, store.delete, store.input_items):
        with pytest.raises(ResponseNotFound, match=f"'{name}' not found"):
            asyncio.run(ask(name, "two"))
    with pytest.raises(PreviousResponseNotFound):
        asyncio.run(store.conversation(name, "two"))
    assert asyncio.run(store.item(f"msg_{name}_in", "two")) is None
    assert is_there(store, "a")


def test_a_conversation_is_told_from_its_beginning(store):
    put(store, response("a"), response("b", previous="a"), response("c", previous="b"))
    found = asyncio.run(store.conversation("c", "one"))
    assert found.ids == ("a", "b", "c")
    names = ["a_in", "a_out", "b_in", "b_out", "c_in", "c_out"]
    assert [item["id"] for item in found.items] == [f"msg_{name}" for name in names]
    items = asyncio.run(store.input_items("c", "one"))
    assert [item["id"] for item in items] == [f"msg_{name}" for name in names[:-1]]


def test_a_conversation_with_a_hole_cannot_go_on(store):
    put(store, response("a"), response("b", previous="a"), response("c", previous="b"))
    asyncio.run(store.delete("a", "one"))
    with pytest.raises(PreviousResponseNotFound, match="'a' not found"):
        asyncio.run(store.conversation("c", "one"))
    items = asyncio.run(store.input_items("c", "one"))
    assert [item["id"] for item in items] == ["msg_b_in", "msg_b_out", "msg_c_in"]


@pytest.mark.parametrize("status", ["queued", "in_progress", "failed", "cancelled"])
def test_only_what_was_answered_goes_on(store, status):
    put(store, response("a", status=status))
    with pytest.raises(InvalidInput, match=status):
        asyncio.run(store.conversation("a", "one"))


def test_the_newest_item_of_an_id_is_found(store, database):
    put(store, response("a"))
    newer = StoredResponse(
        "b", "one", "completed", 6.0, None, {}, ({**message("a_in"), "content": "new"},)
    )
    put(store, newer)
    assert asyncio.run(store.item("msg_a_in", "one"))["content"] == "new"
    assert asyncio.run(store.item("msg_unknown", "one")) is None


def test_what_was_unfinished_when_the_server_ended_has_failed(store):
    put(store, response("a", status="queued"), response("b", status="in_progress"), response("c"))
    store.recover()
    failed = [get(store, name) for name in "ab"]
    assert [one.status for one in failed] == ["failed", "failed"]
    assert all(one.body["error"]["type"] == "server_restarted" for one in failed)
    assert get(store, "c") == response("c")


def test_what_another_server_of_the_database_still_writes_goes_on(database, store, clock):
    bounds = {"ttl_days": 30, "max_bytes": 10**9, "clock": clock}
    mine, others = (ResponseStore(database, **bounds, owner=name) for name in "ab")
    put(store, response("old", status="queued"))
    put(mine, response("mine", status="in_progress"))
    put(others, response("theirs", status="in_progress"))
    mine.recover()
    found = [get(store, name).status for name in ("old", "mine", "theirs")]
    assert found == ["failed", "failed", "in_progress"]


def test_old_ones_are_forgotten(store, clock):
    put(store, response("a"))
    clock.now += 30 * DAY_S + 1
    put(store, response("b"))
    assert not is_there(store, "a")
    assert is_there(store, "b")


def test_a_turn_keeps_those_before_it_young(store, clock):
    put(store, response("a"), response("alone"))
    clock.now += 29 * DAY_S
    put(store, response("b", previous="a"))
    clock.now += 29 * DAY_S
    put(store, response("c"))
    assert (is_there(store, "a"), is_there(store, "b")) == (True, True)
    assert not is_there(store, "alone")


def test_without_a_time_limit_none_is_forgotten(database, clock):
    store = ResponseStore(database, ttl_days=0, max_bytes=10**9, clock=clock)
    put(store, response("a"))
    clock.now += 10_000 * DAY_S
    put(store, response("b"))
    assert is_there(store, "a")


def test_the_old_are_looked_for_now_and_then_only(store, clock):
    put(store, response("a"))
    clock.now += 30 * DAY_S - 1
    put(store, response("b"))
    clock.now += PURGE_EVERY_S / 2
    put(store, response("c"))
    assert is_there(store, "a")
    clock.now += PURGE_EVERY_S
    put(store, response("d"))
    assert not is_there(store, "a")


def test_a_full_store_drops_the_oldest_of_who_holds_most(database, clock):
    store = ResponseStore(database, ttl_days=30, max_bytes=50_000, clock=clock)
    put(store, response("modest", caller="two", size=1000))
    for number in range(20):
        clock.now += 1
        put(store, response(f"r{number}", size=5000))
    assert is_there(store, "modest", caller="two")
    kept = [number for number in range(20) if is_there(store, f"r{number}")]
    assert kept == list(range(kept[0], 20))
    assert 5 <= len(kept) <= 9


def test_one_that_alone_is_too_large_leaves_room_for_others(database, clock):
    store = ResponseStore(database, ttl_days=30, max_bytes=50_000, clock=clock)
    put(store, response("huge", size=60_000))
    put(store, response("next"))
    assert not is_there(store, "huge")
    assert is_there(store, "next")
