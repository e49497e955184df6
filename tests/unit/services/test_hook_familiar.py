"""The backend of familiar try-on servers, asked in its own words: whatever it may answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from onebox.core.errors import BackendUnavailable, InsufficientCredits, Unauthorized
from onebox.services.access.caller import Caller
from onebox.services.hooks.credits import CreditCheck
from onebox.services.hooks.familiar import FamiliarCredits, FamiliarVerify
from onebox.services.hooks.picture_reports import EVENT, PictureReport, PictureReports
from onebox.services.hooks.verification import Verification
from tests.support import backend as replies
from tests.support.backend import Backend, said
from tests.unit.services.asking_backend import KEY, TOKEN, Hooked

ADA = Caller("backend:ada", frozenset({"infer"}))
KEYED = Caller("key:0123", frozenset({"infer"}))
REPORT = PictureReport("ada", 1, "catalog456", "/media/x.png", 1234.56)


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend() as made:
        yield made


def verified(backend: Backend, user: str | None = "ada", **given) -> Caller:
    async def work(made: Verification) -> Caller:
        return await made.verify(TOKEN, user)

    return Hooked(backend.url(), shape=FamiliarVerify(), **given).verify(work)


def check(backend: Backend, caller: Caller = ADA, **given) -> None:
    async def work(made: CreditCheck) -> None:
        await made.check(caller, "try-on", "tiny", "req_1")

    Hooked(backend.url(), shape=FamiliarCredits(), **given).check(work)


SAID = [{}, {"id": 7, "user": {"id": "x"}}, {"valid": True, "user_id": "other"}, {"scope": "admin"}]


@pytest.mark.parametrize("answer", SAID)
def test_the_caller_is_the_user_that_was_asked_about(backend, answer):
    backend.usual = said(answer)
    assert verified(backend) == ADA
    assert backend.received[0].headers["x-onebox-key"] == KEY


def test_an_answer_without_a_body_is_a_yes(backend):
    assert verified(backend) == ADA


NO = [*(said({"detail": "no"}, status) for status in (400, 401, 403, 404)), said({"valid": False})]


@pytest.mark.parametrize("reply", NO, ids=["400", "401", "403", "404", "told"])
def test_who_is_not_known_is_refused(backend, reply):
    backend.usual = reply
    with pytest.raises(Unauthorized):
        verified(backend)
    assert len(backend.received) == 1


@pytest.mark.parametrize("user", [None, "", "x" * 200, "a\nb"])
def test_without_a_user_nothing_is_asked(backend, user):
    with pytest.raises(Unauthorized):
        verified(backend, user)
    assert backend.received == []


WITH_CREDITS = [None, 3, 2.5, "unlimited", {"a": 1}]


@pytest.mark.parametrize("left", WITH_CREDITS, ids=str)
def test_how_many_are_left_may_be_told_in_any_way(backend, left):
    backend.usual = said({"has_credits": True, "available_credits": left})
    check(backend)


NO_CREDITS = [
    *(said({"detail": "no"}, status) for status in (400, 401, 402, 403, 404)),
    said({"has_credits": False}),
    said({"available_credits": 5}),
    replies.EMPTY,
]


@pytest.mark.parametrize("reply", NO_CREDITS)
def test_whoever_is_not_said_to_have_credits_has_none(backend, reply):
    backend.usual = reply
    with pytest.raises(InsufficientCredits):
        check(backend)
    assert len(backend.received) == 1


def test_the_client_is_told_how_many_are_left(backend):
    backend.usual = said({"has_credits": False, "available_credits": 0})
    with pytest.raises(InsufficientCredits, match="0 are left"):
        check(backend)


def test_keys_of_the_server_itself_are_asked_about_only_where_they_name_a_user(backend):
    backend.usual = said({"has_credits": True})
    check(backend, KEYED)
    assert backend.received == []
    check(backend, Caller(KEYED.id, KEYED.scopes, user_id="ada"))
    assert backend.received[0].path.endswith("?user_id=ada")


BROKEN = [replies.DOWN, replies.HTML, replies.DROPPED, replies.NOT_JSON, said([])]


@pytest.mark.parametrize("reply", BROKEN, ids=["down", "html", "dropped", "cut", "list"])
def test_one_that_is_broken_is_closed_or_open_as_the_settings_say(backend, reply):
    backend.usual = reply
    for ask in (verified, check):
        with pytest.raises(BackendUnavailable):
            ask(backend)
        ask(backend, fail="open")


def test_a_question_is_put_again_as_others_are(backend):
    backend.script += [replies.DOWN, replies.DROPPED]
    backend.usual = said({"has_credits": True})
    check(backend)
    assert len(backend.received) == 3


def test_a_picture_that_it_was_not_told_of_is_told_by_the_next_server(shop, receiver):
    receiver.answers.append((503, {}))
    own = {EVENT: {"X-Onebox-Key": KEY}}

    async def run() -> None:
        async with shop.open(own=own, hosts=()) as webhooks:
            url = receiver.url("/told", name="127.0.0.1")
            await PictureReports(url, shop.database, webhooks.wake, shop.clock).finished(REPORT)
            first = await asyncio.to_thread(receiver.next)
        shop.clock.now += 60
        async with shop.open(own=own, hosts=()):
            second = await asyncio.to_thread(receiver.next)
        assert (first.body, first.headers["webhook-id"]) == (
            second.body,
            second.headers["webhook-id"],
        )
        assert second.headers["x-onebox-key"] == KEY
        assert json.loads(first.body) == {
            "user_id": "ada",
            "used_credits": 1,
            "catalog_id": "catalog456",
            "image_url": "/media/x.png",
            "latency_ms": 1234.56,
        }

    asyncio.run(run())
