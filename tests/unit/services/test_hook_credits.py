"""Whether the operator's backend lets a caller have one more request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from onebox.core.errors import BackendUnavailable, InsufficientCredits
from onebox.services.access.caller import Caller
from onebox.services.hooks.credits import CreditCheck
from tests.support import backend as replies
from tests.support.backend import Backend, Reply, said
from tests.unit.services.asking_backend import KEY, OPEN_S, SECONDS, Hooked

ADA = Caller("backend:42", frozenset({"infer"}))
KEYED = Caller("key:0123", frozenset({"infer"}))


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend(said({"allowed": True, "balance": 10})) as made:
        yield made


async def check(made: CreditCheck, caller: Caller = ADA, task: str = "chat") -> None:
    await made.check(caller, task, "tiny", "req_1")


async def refusal(made: CreditCheck) -> InsufficientCredits:
    with pytest.raises(InsufficientCredits) as caught:
        await check(made)
    return caught.value


def test_the_backend_is_told_who_wants_what(backend):
    Hooked(backend.url("/api/v1/credits/check/")).check(check)
    (asked,) = backend.received
    assert (asked.path, asked.headers["x-onebox-key"]) == ("/api/v1/credits/check/", KEY)
    assert "authorization" not in asked.headers
    assert json.loads(asked.body) == {
        "caller": "backend:42",
        "user_id": "42",
        "task": "chat",
        "model": "tiny",
        "request_id": "req_1",
    }


def test_only_callers_of_the_backend_have_an_id_there(backend):
    Hooked(backend.url()).check(lambda made: check(made, KEYED))
    body = json.loads(backend.received[0].body)
    assert body["caller"] == "key:0123"
    assert "user_id" not in body


@pytest.mark.parametrize(
    "reply", [said({"allowed": False}), Reply(402), Reply(403)], ids=["told", "402", "403"]
)
def test_who_has_no_credits_is_told_so(backend, reply):
    backend.usual = reply
    Hooked(backend.url()).check(refusal)


def test_a_refusal_tells_the_balance_where_it_is_known(backend):
    backend.usual = said({"allowed": False, "balance": "0.25"})
    error = Hooked(backend.url()).check(refusal)
    assert error.details == {"balance": 0.25}
    assert "0.25" in error.message


def test_an_answer_holds_for_its_caller_and_task(backend):
    hooked = Hooked(backend.url())

    async def work(made: CreditCheck) -> None:
        await check(made)
        await check(made)
        assert len(backend.received) == 1
        await check(made, KEYED)
        await check(made, task="speech")
        assert len(backend.received) == 3
        backend.usual = Reply(402)
        hooked.time.now += SECONDS
        await refusal(made)
        await refusal(made)

    hooked.check(work)
    assert len(backend.received) == 4


def test_a_401_is_not_a_no_but_a_wrong_key_of_the_operator(backend):
    backend.usual = Reply(401)

    async def work(made: CreditCheck) -> None:
        with pytest.raises(BackendUnavailable):
            await check(made)

    Hooked(backend.url()).check(work)


def test_without_an_answer_a_request_is_refused_and_told_when_to_come_back(backend):
    backend.usual = replies.DOWN
    hooked = Hooked(backend.url())

    async def work(made: CreditCheck) -> list[float]:
        waits = []
        for _ in range(2):
            with pytest.raises(BackendUnavailable) as caught:
                await check(made)
            waits.append(caught.value.retry_after_s)
        return waits

    assert hooked.check(work) == [5, OPEN_S]


@pytest.mark.parametrize("reply", [replies.DOWN, replies.HTML], ids=["down", "html"])
def test_without_an_answer_a_request_may_go_on_if_the_operator_wants_it_so(backend, reply):
    backend.usual = reply

    async def work(made: CreditCheck) -> None:
        for _ in range(7):
            await check(made)
        backend.usual = Reply(402)
        hooked.time.now += OPEN_S
        await refusal(made)

    hooked = Hooked(backend.url(), fail="open")
    hooked.check(work)


def test_many_requests_of_a_caller_are_one_question(backend):
    backend.usual = Reply(402, waits=True)

    async def work(made: CreditCheck) -> None:
        waiting = [asyncio.create_task(refusal(made)) for _ in range(20)]
        await asyncio.to_thread(backend.next)
        backend.open.set()
        await asyncio.gather(*waiting)

    Hooked(backend.url()).check(work)
    assert len(backend.received) == 1
