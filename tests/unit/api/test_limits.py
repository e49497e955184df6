"""How often a client may ask, as it is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from onebox.api.app import TOLD_HEADERS
from onebox.services.access.caller import Allowance, Caller
from onebox.services.access.limits.rules import PUBLIC
from tests.unit.api.asking import ADMIN, USER, ask
from tests.unit.api.ears import Ears
from tests.unit.api.limiting import PREFIX, KnowsOne, LimitedServer, told
from tests.unit.api.sockets import USER as SOCKET_USER
from tests.unit.api.sockets import connected, handshake
from tests.unit.api.texts import HI, chat_result, events
from tests.unit.services.limited import sample

CHAT = ("/v1/chat/completions", {"model": "m", "messages": HI})
GENERATE = ("/v1/generate", {"prompt": "Hi"})
LIVE = "/v1/audio/transcriptions/live"
WRONG = {"authorization": "Bearer wrong"}


@pytest.fixture(scope="module")
def server(services):
    return LimitedServer(services)


def statuses(answers):
    return [answer.status for answer in answers]


def test_by_default_nothing_is_counted_and_nothing_said(server):
    server.limit()
    answers = [server.post(*CHAT) for _ in range(150)]
    assert set(statuses(answers)) == {200}
    assert told(answers[0]) == {}


def test_public_refuses_the_twenty_first_prompt_of_a_minute(server):
    limited = server.limit(limits="public")
    answers = [server.post(*GENERATE) for _ in range(PUBLIC["prompt"] + 1)]
    assert statuses(answers) == [200] * PUBLIC["prompt"] + [429]
    refused = answers[-1]
    error = refused.error
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert error["details"] == {"kind": "requests", "limit": 20, "window_s": 60}
    assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("60", "60000")
    assert "x-should-retry" not in refused.headers
    assert limited.hits("prompt", "requests") == 1
    server.clock.advance(60)
    assert server.post(*GENERATE).status == 200


def test_every_limited_answer_says_how_things_stand(server):
    server.limit(limit_text=2, limit_tokens=100)
    good, bad, refused = (
        server.post(*CHAT),
        server.post(CHAT[0], {"messages": 7}),
        server.post(*CHAT),
    )
    assert statuses([good, bad, refused]) == [200, 400, 429]
    rest = {"limit-tokens": "100", "remaining-tokens": "100", "reset-tokens": "0ms"}
    for answer, remaining in ((good, "1"), (bad, "0"), (refused, "0")):
        requests = {"limit-requests": "2", "remaining-requests": remaining}
        assert told(answer) == {**requests, "reset-requests": "1m0s", **rest}


def test_a_stream_says_it_at_its_beginning(server):
    server.limit(limit_text=2)
    path, body = CHAT
    answer = server.post(path, {**body, "stream": True})
    assert events(answer)[-1] == "[DONE]"
    assert told(answer)["remaining-requests"] == "1"
    assert server.post(path, {**body, "stream": True}).status == 200
    assert server.post(path, {**body, "stream": True}).status == 429


def test_pages_of_other_origins_may_see_it():
    names = [name.lower() for name in TOLD_HEADERS]
    for kind in ("requests", "tokens"):
        for figure in ("limit", "remaining", "reset"):
            assert f"{PREFIX}{figure}-{kind}" in names


def test_keys_are_counted_apart_and_one_key_over_all_addresses(server):
    server.limit(limit_text=1)
    assert statuses(
        [
            server.post(*CHAT),
            server.post(*CHAT, ADMIN),
            server.post(*CHAT, server.sign("ann")),
            server.post(*CHAT, server.sign("ann")),
            server.post(*CHAT, address="198.51.100.1"),
        ]
    ) == [200, 200, 200, 429, 429]


def test_a_refused_request_is_refused_before_its_body_is_read(server):
    server.limit(limit_text=1)
    assert server.post(*CHAT).status == 200
    # Larger than a body may be, which would be 413.
    huge = ask(server.app, "POST", CHAT[0], USER, b"x" * 9000)
    assert huge.status == 429


def test_throttle_rpm_holds_for_every_class(server):
    server.limit(throttle_rpm=1)
    for path in ("/v1/models", "/metrics"):
        assert statuses(server.get(path, address="192.0.2.1") for _ in range(2)) == [200, 429]
    assert statuses([server.post(*GENERATE), server.post(*GENERATE)]) == [200, 429]
    assert statuses([server.post(*CHAT), server.post(*CHAT)]) == [200, 429]


def test_public_routes_are_counted_by_address(server):
    limited = server.limit(limits="public")
    answers = [server.get("/health", None, address="192.0.2.1") for _ in range(31)]
    assert statuses(answers) == [200] * 30 + [429]
    assert limited.hits("health", "requests") == 1
    assert server.get("/health", None, address="192.0.2.2").status == 200
    # A key changes nothing: these routes look at none.
    assert server.get("/health", USER, address="192.0.2.1").status == 429
    assert server.get("/healthz", None, address="192.0.2.1").status == 429


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("path", ["/health", "/v1/health", "/healthz", "/ready", "/metrics"])
def test_probes_of_this_machine_are_never_refused(server, path, address):
    server.limit(limits="public", throttle_rpm=1)
    answers = [server.get(path, USER, address=address) for _ in range(5)]
    assert 429 not in statuses(answers)
    assert told(answers[0]) == {}


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip", "via"])
def test_who_comes_through_a_proxy_on_this_machine_is_no_probe(server, header):
    server.limit(limit_health=1)
    given = {header: "127.0.0.1"}
    assert statuses(server.get("/health", given) for _ in range(2)) == [200, 429]
    assert server.get("/health", None).status == 200


def test_other_routes_are_counted_for_this_machine_too(server):
    server.limit(limit_other=1)
    assert statuses(server.get("/v1", None) for _ in range(2)) == [200, 429]


def test_a_forged_address_is_not_believed(server):
    server.limit(limit_health=2)
    answers = [
        server.get("/health", {"x-forwarded-for": f"192.0.2.{number}"}, address="198.51.100.7")
        for number in range(4)
    ]
    assert statuses(answers) == [200, 200, 429, 429]


def test_guessing_keys_ends_in_429_and_a_valid_key_of_the_same_address_works(server):
    limited = server.limit(limit_failed=3, limit_text=5)
    guesses = [server.post(*CHAT, WRONG, address="192.0.2.1") for _ in range(5)]
    assert statuses(guesses) == [401, 401, 401, 429, 429]
    assert "www-authenticate" in guesses[0].headers
    assert "without a valid key" in guesses[3].error["message"]
    assert guesses[3].headers["retry-after"] == "60"
    assert statuses(
        [
            server.post(*CHAT, None, address="192.0.2.1"),
            server.post(*CHAT, USER, address="192.0.2.1"),
            server.post(*CHAT, WRONG, address="192.0.2.2"),
        ]
    ) == [429, 200, 401]
    assert limited.hits("failed", "requests") == 3


def test_a_websocket_is_one_request(server):
    server.limit(limit_audio=2)
    ears: Any = Ears()
    server.relay.texts = ears

    async def one():
        async with connected(server.app, LIVE) as socket:
            head = await socket.raw()
            for _ in range(50):
                socket.sound(b"\0" * 320)
            socket.control("close")
            await socket.until_closed()
            return head

    heads = [asyncio.run(one()) for _ in range(2)]
    assert [head["type"] for head in heads] == ["websocket.accept"] * 2
    headers = {name.decode(): value.decode() for name, value in heads[1]["headers"]}
    assert headers[f"{PREFIX}remaining-requests"] == "0"
    status, error = handshake(server.app, LIVE, headers=SOCKET_USER)
    assert (status, error["code"]) == (429, "rate_limit_exceeded")


def test_tokens_that_are_used_up_are_waited_for(server):
    limited = server.limit(limit_tokens=100)
    caller = server.access.authenticator.authenticate(USER["authorization"])

    async def use(count):
        limited.limits.used_tokens(caller.id, count)
        await asyncio.sleep(0)

    assert told(server.post(*CHAT))["remaining-tokens"] == "100"
    asyncio.run(use(60))
    assert told(server.post(*CHAT))["remaining-tokens"] == "40"
    asyncio.run(use(60))
    refused = server.post(*CHAT)
    assert (refused.status, refused.error["details"]["kind"]) == (429, "tokens")
    assert (told(refused)["limit-tokens"], told(refused)["remaining-tokens"]) == ("100", "0")
    assert int(refused.headers["retry-after"]) > 0
    assert limited.hits("text", "tokens") == 1
    # What needs none goes on.
    assert server.get("/v1/models").status == 200


def test_a_key_may_have_its_own_numbers(server):
    limited = server.limit(limits="public")
    known = server.access.authenticator
    own = Allowance(requests_per_minute=2, tokens_per_minute=7)
    server.access.authenticator = KnowsOne(Caller("key:own", frozenset({"infer"}), own))
    try:
        answers = [server.post(*CHAT), server.get("/v1/models"), server.post(*GENERATE)]
    finally:
        server.access.authenticator = known
    assert statuses(answers) == [200, 200, 429]
    assert (told(answers[0])["limit-requests"], told(answers[0])["limit-tokens"]) == ("2", "7")
    assert limited.hits("prompt", "requests") == 1


def test_a_job_counts_as_what_its_task_makes(server):
    server.limit(limit_images=1)
    jobs = ("/v1/jobs", {"task": "text-to-image", "input": {"prompt": "x", "width": "wrong"}})
    good = ("/v1/images/generations", {"prompt": 7})
    assert server.post(*jobs).status == 422
    assert server.post(*good).status == 400
    assert server.post(*good).status == 429
    server.limit(limit_text=1)
    chat = ("/v1/jobs", {"task": "chat", "input": {"messages": HI}, "model": "unknown"})
    server.post(*chat)
    assert server.post(*chat).status == 429
    assert server.post(*CHAT).status == 429


def test_the_metrics_page_counts_refusals_by_class_and_kind(server):
    limited = server.limit(limit_prompt=1, limit_images=1)
    for _ in range(3):
        server.post(*GENERATE)
    server.post("/v1/images/generations", {"prompt": "x"})
    page = limited.metrics
    name = 'rate_limit_hits_total{kind="requests",route_class="%s"}'
    assert sample(page, name % "prompt") == 2
    assert sample(page, name % "images") == 0


def test_openai_sees_a_rate_limit_error_and_waits_as_it_is_told(server, monkeypatch):
    import httpx2

    server.limit(limit_text=1)
    waits = []

    async def slept(seconds):
        waits.append(seconds)
        server.clock.advance(seconds)

    monkeypatch.setattr("anyio.sleep", slept)

    async def use(retries):
        http = httpx2.AsyncClient(transport=httpx2.ASGITransport(server.app))
        async with openai.AsyncOpenAI(
            base_url="http://testserver/v1",
            api_key="user-key",
            max_retries=retries,
            http_client=http,
        ) as client:
            return await client.chat.completions.create(model="m", messages=HI)

    assert asyncio.run(use(0)).choices[0].message.content == chat_result()["choices"][0]["content"]
    with pytest.raises(openai.RateLimitError) as error:
        asyncio.run(use(0))
    assert error.value.code == "rate_limit_exceeded"
    assert error.value.response.headers["retry-after"] == "60"
    assert isinstance(asyncio.run(use(1)), ChatCompletion)
    assert waits == [60.0]
