"""A backend that is slow, wrong, down or flapping, and what that does to who sends a token."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from onebox.core.errors import BackendUnavailable
from onebox.services.hooks.shared_calls import ON_THEIR_WAY
from onebox.services.hooks.verification import Verification
from tests.support import backend as replies
from tests.support.backend import Backend, BlackHole, Reply, closed_port, moved, said
from tests.unit.services.asking_backend import (
    FAILURES,
    KEY,
    OPEN_S,
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


@pytest.mark.parametrize(
    "bad",
    [Reply(500), Reply(503), Reply(429), replies.DROPPED, replies.BROKEN_OFF],
    ids=["500", "503", "429", "dropped", "broken-off"],
)
def test_a_backend_that_fails_for_a_moment_is_asked_again(backend, bad):
    backend.script.extend([bad, bad])
    hooked = Hooked(backend.url())
    assert ask(hooked).id == "backend:42"
    assert hooked.time.waits == [1, 2]


def test_a_backend_that_says_when_is_asked_then(backend):
    backend.script.append(Reply(429, headers={"Retry-After": "6"}))
    hooked = Hooked(backend.url())
    ask(hooked)
    assert hooked.time.waits == [6]


def test_a_backend_that_stays_down_is_asked_five_times_and_then_left_alone(backend):
    backend.usual = replies.DOWN
    hooked = Hooked(backend.url())

    async def work(made: Verification) -> None:
        assert await retry_after(made) == 5
        assert len(backend.received) == FAILURES
        # Nobody waits for it any more, and it has its peace.
        hooked.time.now += 1
        assert await retry_after(made, "another") == OPEN_S - 1
        assert len(backend.received) == FAILURES

    hooked.verify(work)
    assert hooked.time.waits == [1, 2, 4, 8]
    assert hooked.count("auth_verify", "left_alone") == 1
    assert b'onebox_hook_circuit{hook="auth_verify"} 2.0' in hooked.page.render()


def test_a_backend_that_comes_back_is_asked_again(backend):
    backend.usual = replies.DOWN
    hooked = Hooked(backend.url())

    async def work(made: Verification) -> None:
        await retry_after(made)
        backend.usual = said({"valid": True})
        hooked.time.now += OPEN_S
        await made.verify(TOKEN)
        await made.verify("another")

    hooked.verify(work)
    assert hooked.breaker.state == "closed"


def test_a_flapping_backend_costs_waits_and_no_answers(backend):
    hooked = Hooked(backend.url())

    async def work(made: Verification) -> None:
        for number in range(20):
            backend.script.extend([replies.DOWN, Reply(401 if number % 2 else 200)])
            assert await is_refused(made, f"token-{number}") == bool(number % 2)

    hooked.verify(work)
    assert len(backend.received) == 40


def test_no_request_waits_longer_than_it_may(backend):
    backend.usual = replies.DOWN
    hooked = Hooked(backend.url(), wait_s=12, timeout_s=5)
    hooked.verify(retry_after)
    assert hooked.time.waits == [1, 2, 4]


@pytest.mark.parametrize("reply", [replies.SLOW, replies.STUCK], ids=["no-head", "half-a-body"])
def test_an_answer_that_does_not_come_is_not_waited_for(backend, reply):
    backend.usual = reply
    hooked = Hooked(backend.url(), timeout_s=0.05)
    hooked.verify(retry_after)
    assert len(backend.received) == 5


def test_a_black_hole_is_left_alone_after_some_tries():
    hole = BlackHole()
    hooked = Hooked(hole.url, timeout_s=0.05)
    hooked.verify(retry_after)
    assert hooked.breaker.state == "open"
    hole.close()


def test_a_backend_that_is_not_there_is_unavailable():
    hooked = Hooked(f"http://127.0.0.1:{closed_port()}/verify")
    assert hooked.verify(retry_after) == 5
    assert hooked.breaker.state == "open"


WRONG = {
    "html": replies.HTML,
    "half": replies.NOT_JSON,
    "list": said([True]),
    "text": said("valid"),
    "bool-as-text": said({"valid": "false"}),
    "bool-as-number": said({"valid": 0}),
    "bool-as-null": said({"valid": None}),
    "deep": Reply(body=b"[" * 5000),
    "bytes": Reply(body=b"\xff\xfe"),
    "huge": replies.HUGE,
    "packed": replies.PACKED,
    "long-id": said({"user_id": "a" * 121}),
    "empty-id": said({"user_id": ""}),
    "id-with-a-line": said({"user_id": "a\nb"}),
    "id-as-list": said({"user_id": [1]}),
    "rate-as-text": said({"requests_per_minute": "60"}),
    "rate-of-none": said({"requests_per_minute": 0}),
    "rate-as-bool": said({"max_concurrent": True}),
    "models-as-text": said({"models": "sd-turbo"}),
    "scopes-as-number": said({"scopes": 1}),
    "unknown-unit": said({"daily": {"coffees": 1}}),
    "negative-quota": said({"monthly": {"requests": -1}}),
    "404": Reply(404),
    "400": Reply(400),
    "redirect": moved("http://127.0.0.1:1/"),
}


@pytest.mark.parametrize("reply", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_answer_lets_nobody_in_and_is_not_asked_for_again(backend, reply):
    backend.usual = reply
    Hooked(backend.url()).verify(retry_after)
    assert len(backend.received) == 1


@pytest.mark.parametrize(
    ("reply", "state"),
    [(replies.HTML, "open"), (Reply(400), "closed"), (WRONG["long-id"], "closed")],
    ids=["html", "400", "name"],
)
def test_only_answers_that_speak_of_the_backend_open_its_breaker(backend, reply, state):
    """Whoever finds a token that it answers 400 to, or may choose their own name there, could keep
    everybody out.
    """
    backend.usual = reply
    hooked = Hooked(backend.url())

    async def work(made: Verification) -> None:
        for number in range(FAILURES):
            await retry_after(made, f"token-{number}")

    hooked.verify(work)
    assert hooked.breaker.state == state


def test_failing_open_lets_any_token_in_with_one_scope(backend):
    backend.usual = replies.DOWN
    hooked = Hooked(backend.url(), fail="open", granted=("infer", "admin"))

    async def work(made: Verification) -> None:
        one, other = await made.verify(TOKEN), await made.verify("another")
        assert one.id.startswith("backend:token-")
        assert one.id != other.id
        assert one.scopes == other.scopes == {"infer"}
        backend.usual = Reply(401)
        hooked.time.now += OPEN_S
        assert await is_refused(made)

    hooked.verify(work)


def test_failing_open_lets_no_flood_in(backend):
    backend.usual = Reply(401, waits=True)

    async def work(made: Verification) -> None:
        flood = [asyncio.create_task(is_refused(made, f"t{n}")) for n in range(ON_THEIR_WAY)]
        await asyncio.to_thread(backend.next)
        assert await retry_after(made, "one-more") == 1
        backend.open.set()
        await asyncio.gather(*flood)

    Hooked(backend.url(), fail="open").verify(work)


def test_neither_tokens_nor_keys_nor_paths_are_logged_or_told(backend):
    backend.usual = replies.DOWN
    hooked = Hooked(backend.url("/verify?secret=in-the-path"))

    async def work(made: Verification) -> str:
        with pytest.raises(BackendUnavailable) as caught:
            await made.verify(TOKEN)
        return caught.value.message

    with capture_logs() as lines:
        message = hooked.verify(work)
    assert lines[0]["reason"] == "the answer has the status 503"
    said_out_loud = message + repr(lines) + hooked.page.render().decode()
    for secret in (TOKEN, KEY, "in-the-path"):
        assert secret not in said_out_loud
    assert "127.0.0.1" not in message


def test_the_end_of_the_server_waits_for_no_backend(backend):
    backend.usual = replies.SLOW
    hooked = Hooked(backend.url())

    async def run() -> None:
        async with hooked.verification() as made:
            waiting = asyncio.create_task(made.verify(TOKEN))
            await asyncio.to_thread(backend.next)
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())
