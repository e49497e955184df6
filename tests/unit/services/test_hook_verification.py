"""Who sends a token that only the operator's backend knows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from onebox.services.hooks.shared_calls import ON_THEIR_WAY
from onebox.services.hooks.verification import Verification
from tests.support import backend as replies
from tests.support.backend import Backend, Reply, said
from tests.unit.services.asking_backend import (
    KEY,
    SECONDS,
    TOKEN,
    Hooked,
    ask,
    is_refused,
    retry_after,
)


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend(said({"valid": True, "user_id": 42})) as made:
        yield made


def test_a_token_that_the_backend_knows_is_its_users(backend):
    caller = ask(Hooked(backend.url()))
    assert (caller.id, caller.scopes) == ("backend:42", {"infer"})


def test_the_backend_is_told_the_token_and_who_asks(backend):
    ask(Hooked(backend.url("/api/v1/auth/verify/?v=1")))
    (asked,) = backend.received
    assert asked.path == "/api/v1/auth/verify/?v=1"
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["x-onebox-key"] == KEY
    assert json.loads(asked.body) == {"token": TOKEN}


@pytest.mark.parametrize(
    "reply",
    [said({"valid": False}), said({"active": False}), Reply(401), Reply(403)],
    ids=["valid", "active", "401", "403"],
)
def test_a_token_that_the_backend_does_not_know_is_refused(backend, reply):
    backend.usual = reply
    assert Hooked(backend.url()).verify(is_refused)
    assert len(backend.received) == 1


@pytest.mark.parametrize(
    "token", ["with space", "line\nbreak", "grün", "\x00", ""], ids=["space", "line", "ü", "0", "-"]
)
def test_what_no_header_could_carry_is_refused_unasked(backend, token):
    assert Hooked(backend.url()).verify(lambda made: is_refused(made, token))
    assert backend.received == []


def test_an_answer_holds_for_its_seconds_and_no_longer(backend):
    hooked = Hooked(backend.url())

    async def work(made: Verification) -> None:
        await made.verify(TOKEN)
        hooked.time.now += SECONDS - 1
        await made.verify(TOKEN)
        assert len(backend.received) == 1
        backend.usual = Reply(401)
        hooked.time.now += 1
        assert await is_refused(made)

    hooked.verify(work)
    assert hooked.count("auth_verify", "remembered") == 1


def test_a_no_holds_for_its_seconds_too(backend):
    hooked = Hooked(backend.url())
    backend.usual = Reply(401)

    async def work(made: Verification) -> None:
        assert await is_refused(made)
        backend.usual = said({"valid": True})
        assert await is_refused(made)
        hooked.time.now += SECONDS
        await made.verify(TOKEN)

    hooked.verify(work)
    assert len(backend.received) == 2


def test_without_memory_each_request_asks(backend):
    async def work(made: Verification) -> None:
        await made.verify(TOKEN)
        await made.verify(TOKEN)

    Hooked(backend.url(), seconds=0).verify(work)
    assert len(backend.received) == 2


def test_many_that_ask_for_one_token_are_one_question(backend):
    backend.usual = Reply(200, said({"user_id": 7}).body, waits=True)

    async def work(made: Verification) -> set[str]:
        waiting = [asyncio.create_task(made.verify(TOKEN)) for _ in range(20)]
        await asyncio.to_thread(backend.next)
        backend.open.set()
        return {caller.id for caller in await asyncio.gather(*waiting)}

    assert Hooked(backend.url()).verify(work) == {"backend:7"}
    assert len(backend.received) == 1


def test_who_leaves_ends_only_their_own_waiting(backend):
    backend.usual = Reply(200, said({"user_id": 7}).body, waits=True)

    async def work(made: Verification) -> str:
        leaves = asyncio.create_task(made.verify(TOKEN))
        await asyncio.to_thread(backend.next)
        stays = asyncio.create_task(made.verify(TOKEN))
        await asyncio.sleep(0)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        backend.open.set()
        return (await stays).id

    assert Hooked(backend.url()).verify(work) == "backend:7"


def test_when_all_have_left_the_next_one_asks_anew(backend):
    backend.script.append(replies.SLOW)

    async def work(made: Verification) -> str:
        leaves = asyncio.create_task(made.verify(TOKEN))
        await asyncio.to_thread(backend.next)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        # What they waited for has not ended yet.
        return (await made.verify(TOKEN)).id

    hooked = Hooked(backend.url())
    assert hooked.verify(work) == "backend:42"
    assert hooked.count("auth_verify", "cancelled") == 1
    assert hooked.breaker.state == "closed"


def test_one_slow_answer_keeps_no_other_token_waiting(backend):
    backend.script.append(replies.SLOW)

    async def work(made: Verification) -> str:
        slow = asyncio.create_task(made.verify("slow-token"))
        await asyncio.to_thread(backend.next)
        other = await made.verify(TOKEN)
        backend.open.set()
        await slow
        return other.id

    assert Hooked(backend.url()).verify(work) == "backend:42"


def test_a_flood_of_unknown_tokens_reaches_the_backend_a_few_at_a_time(backend):
    backend.usual = Reply(401, waits=True)

    async def work(made: Verification) -> None:
        flood = [asyncio.create_task(is_refused(made, f"t{n}")) for n in range(ON_THEIR_WAY)]
        for _ in range(4):
            await asyncio.to_thread(backend.next)
        assert len(backend.received) == 4
        # One more than may wait is told so at once.
        assert await retry_after(made, "one-more") == 1
        backend.open.set()
        assert all(await asyncio.gather(*flood))

    Hooked(backend.url()).verify(work)


def test_guessed_tokens_drive_no_good_one_out_of_memory(backend):
    backend.script.append(said({"user_id": 42}))
    backend.usual = Reply(401)

    async def work(made: Verification) -> None:
        await made.verify(TOKEN)
        for number in range(10):
            assert await is_refused(made, f"guess-{number}")
        await made.verify(TOKEN)

    Hooked(backend.url(), size=3).verify(work)
    assert len(backend.received) == 11
