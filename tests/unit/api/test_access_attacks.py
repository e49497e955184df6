"""Ways around keys, tokens and the hook that knows callers, as an attacker tries them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
import tracemalloc
from typing import Any

import pytest
from jose import jwt
from starlette.requests import Request

from onebox.api.app import create_app
from onebox.api.compat.body_key import read_key
from onebox.api.compat.try_on import _require_own
from onebox.api.openai.live import PATH as LIVE
from onebox.core.errors import Forbidden, Unauthorized
from onebox.services.access.access import Access
from onebox.services.access.caller import Caller
from tests.unit.api.asking import ADMIN, Answer, ask, build, in_loop, tear_down
from tests.unit.api.ears import SECOND, hearing, live_app
from tests.unit.api.sockets import connected
from tests.unit.services.limited import Limited

SECRET = "signs tokens in tests"
ECHO = "/v1/usage"


class Gate:
    """In place of an operator's backend: knows one token, or everybody. Notes who was asked for."""

    def __init__(self, *good: str) -> None:
        self.good = good
        self.known: dict[str, Caller] = {}
        self.asked: list[str] = []

    def knows(self, token: str, user_id: str | None = None) -> bool:
        return token in self.known

    async def verify(self, token: str, user_id: str | None = None) -> Caller:
        self.asked.append(token)
        if self.good and token not in self.good:
            raise Unauthorized("the key is not valid")
        self.known[token] = Caller("backend:ada", frozenset({"infer"}))
        return self.known[token]

    async def close(self) -> None: ...


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    built = build(tmp_path_factory.mktemp("attacks"))
    yield built
    tear_down(built)


@pytest.fixture(scope="module")
def app(services):
    return create_app(services)


@pytest.fixture
def guarded(services, app):
    """Puts a hook, and limits of these settings, before the app."""

    def put(hook: Gate | None, **limits: Any) -> Limited | None:
        own = services.access
        limited = Limited(**limits) if limits else None
        access = Access(own.authenticator, own.keys, limits=limited and limited.limits, hook=hook)
        app.state.services = dataclasses.replace(services, access=access)
        return limited

    yield put
    app.state.services = services


def come(app, token: str, method: str = "GET", path: str = ECHO, body: bytes = b"") -> Answer:
    return ask(app, method, path, {"authorization": f"Bearer {token}"}, body)


def signed(**claims: Any) -> str:
    return jwt.encode({"sub": "ada", "exp": int(time.time()) + 600, **claims}, SECRET, "HS256")


def made_key(app, **wanted: Any) -> tuple[str, str]:
    """Id and secret."""
    answer = ask(app, "POST", "/v1/keys", ADMIN, json.dumps({"name": "x", **wanted}).encode())
    told = json.loads(answer.body)
    return told["id"], told["key"]


@pytest.mark.parametrize("sub", ["a\r\nX-Role: admin", "a\0", "\x1b[2J", "\ud800", "\u2028"])
def test_a_token_cannot_name_its_caller_by_what_no_log_or_table_can_hold(guarded, app, sub):
    guarded(None, limits="public")
    answer = come(app, signed(sub=sub))
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert come(app, signed(sub="Ada Müller 😀")).status == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"onebox_daily": {"requests": 10**400}},
        {"onebox_monthly": {"credits": 10**400}},
        {"onebox_models": ["\ud800"]},
        {"onebox_models": ["a\nb"]},
        {"onebox_daily": {"requests": float("nan")}},
        {"onebox_requests_per_minute": -1},
        {"onebox_max_concurrent": True},
    ],
)
def test_a_limit_that_cannot_be_read_lets_nobody_in(app, claims):
    assert come(app, signed(**claims)).status == 401


def test_a_secret_that_ended_is_not_given_to_the_backend(guarded, app):
    """Which may say yes to all it is asked, or be down, and all are let in then."""
    revoked, first = made_key(app)
    rotated, second = made_key(app)
    _, third = made_key(app, expires_at=time.time() + 3600)
    ask(app, "DELETE", f"/v1/keys/{revoked}", ADMIN)
    body = json.dumps({"grace_seconds": 0}).encode()
    newer = json.loads(ask(app, "POST", f"/v1/keys/{rotated}/rotate", ADMIN, body).body)["key"]
    gate = Gate()
    guarded(gate)
    assert [come(app, key).status for key in (first, second, third, newer)] == [401, 401, 200, 200]
    assert gate.asked == []
    assert come(app, "of-somebody-else").status == 200


def test_who_guesses_has_the_backend_asked_no_oftener_than_anybody_may_fail(guarded, app):
    gate = Gate("good", "late")
    limited = guarded(gate, limit_failed=3)
    assert come(app, "good").status == 200
    statuses = [come(app, f"guess-{number}").status for number in range(10)]
    assert statuses == [401] * 3 + [429] * 7
    assert gate.asked == ["good", "guess-0", "guess-1", "guess-2"]
    # Who is known goes on, whoever else is behind the same address.
    assert come(app, "good").status == 200
    assert come(app, "late").status == 429
    limited.clock.advance(61)
    assert come(app, "late").status == 200


@in_loop
async def test_a_body_of_a_hundred_thousand_pieces_is_no_more_to_hold_than_its_bytes():
    body = json.dumps({"api_key": "k" * 20, "user_id": "u", "x": "y" * 100_000}).encode()
    sent = iter(range(len(body)))

    async def receive() -> dict[str, Any]:
        at = next(sent)
        more = at + 1 < len(body)
        return {"type": "http.request", "body": body[at : at + 1], "more_body": more}

    request = Request({"type": "http", "headers": []}, receive)
    tracemalloc.start()
    try:
        again, key = await read_key(request)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (key, await again.body()) == ("k" * 20, body)
    assert most < 20 * len(body)


def test_many_rotations_at_once_leave_one_new_secret_and_the_one_before(services, app):
    key_id, first = made_key(app)
    keys = services.access.keys

    async def storm() -> list[str]:
        done = await asyncio.gather(*(keys.rotate(key_id, grace_s=60) for _ in range(100)))
        return [secret for _, secret in done]

    secrets = asyncio.run(storm())
    good = [secret for secret in secrets if come(app, secret).status == 200]
    assert len(set(secrets)) == 100
    assert len(good) == 2
    assert come(app, first).status == 401


def test_a_key_that_is_revoked_ends_the_live_session_that_it_opened(services):
    app = live_app(services)
    hearing(app)
    key_id, secret = made_key(app)

    async def scene() -> None:
        async with connected(app, LIVE, headers=[("authorization", f"Bearer {secret}")]) as socket:
            assert (await socket.raw())["type"] == "websocket.accept"
            assert (await socket.message())["type"] == "session.created"
            socket.sound(SECOND)
            assert (await socket.message())["type"].startswith("transcript.")
            await services.access.keys.revoke(key_id)
            socket.sound(SECOND)
            messages, code = await socket.until_closed()
            assert messages[-1]["error"]["code"] == "invalid_api_key"
            assert code == 1008

    asyncio.run(scene())


@pytest.mark.parametrize("kind", ["jwt", "oidc", "backend"])
def test_the_key_of_one_user_draws_nothing_for_another(services, kind):
    """Whoever vouches for the user."""
    caller = Caller(f"{kind}:ada", frozenset({"infer"}))
    _require_own(caller, "ada")
    with pytest.raises(Forbidden):
        _require_own(caller, "bob")
