"""Several servers that count requests together, in a Redis that is real."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from onebox.core.errors import BackendUnavailable, RateLimited
from onebox.core.settings import Settings
from onebox.services.access.caller import Allowance, Caller
from onebox.services.access.limits import store
from onebox.services.access.limits.limits import RateLimits, create_rate_limits
from onebox.services.access.limits.store import PAUSE_S
from onebox.services.access.limits.store import TIMEOUT_S as SHORT_S
from onebox.services.metrics import Metrics
from tests.support.ports import free_port
from tests.support.server import running_server, wait_for

pytestmark = pytest.mark.skipif(not shutil.which("redis-server"), reason="needs redis-server")

ME = Caller("key:1", frozenset({"infer"}))


class Redis:
    """A server of our own, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/1"
        self.socket_url = f"unix://{folder}/redis.sock?db=1"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        given = {
            "bind": "127.0.0.1",
            "port": self._port,
            "unixsocket": self._folder / "redis.sock",
            "dir": self._folder,
            "save": "",
            "appendonly": "no",
        }
        options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
        self._process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        wait_for(self._listens)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """From now on it takes connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self._port)) == 0


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    # Not pytest's folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory() as folder:
        server = Redis(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that comes late on a busy machine would count as none, and let in."""
    monkeypatch.setattr(store, "TIMEOUT_S", 60.0)


@pytest.fixture
def me(request: pytest.FixtureRequest) -> Caller:
    """A caller of this test alone: the Redis is of all of them."""
    return Caller(request.node.name, frozenset({"infer"}))


class Clock:
    """Of the pause after a failure; the windows are Redis' own."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def limits(url: str, clock: Clock | None = None, **settings: Any) -> RateLimits:
    given = Settings(limits_url=url, **settings)
    return create_rate_limits(given, Metrics(lambda: []).access, clock or Clock())


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 120))


async def let_in(server: RateLimits, caller: Caller, times: int) -> int:
    found = [await server.hit(caller, None, "text") for _ in range(times)]
    return sum(counted.refused is None for counted in found)


@pytest.mark.parametrize("other", ["url", "socket_url"])
def test_two_servers_share_a_window(redis: Redis, me: Caller, other: str) -> None:
    async def use() -> None:
        one, two = limits(redis.url, limit_text=5), limits(getattr(redis, other), limit_text=5)
        assert await let_in(one, me, 3) == 3
        assert await let_in(two, me, 9) == 2
        counted = await one.hit(me, None, "text")
        assert counted.refused is not None
        assert 40 <= (counted.refused.retry_after_s or 0) <= 60
        assert dict(counted.headers)[b"x-ratelimit-remaining-requests"] == b"0"
        await one.close()
        await two.close()

    run(use())


def test_a_crowd_over_two_servers_gets_in_no_more_than_allowed(redis: Redis, me: Caller) -> None:
    async def use() -> None:
        servers = [limits(redis.url, limit_text=50) for _ in range(2)]
        found = await asyncio.gather(*(let_in(servers[n % 2], me, 1) for n in range(200)))
        assert sum(found) == 50
        for server in servers:
            await server.close()

    run(use())


def test_tokens_that_one_server_counts_are_missing_at_the_other(redis: Redis, me: Caller) -> None:
    rich = Caller(me.id, me.scopes, Allowance(tokens_per_minute=1000))

    async def use() -> None:
        one, two = limits(redis.url), limits(redis.url)
        assert await let_in(one, rich, 1) == 1
        one.used_tokens(rich.id, 300)
        await one.close()
        left = dict((await two.hit(rich, None, "text")).headers)[b"x-ratelimit-remaining-tokens"]
        assert left == b"700"
        two.used_tokens(rich.id, 4000)
        await two.close()
        refused = (await limits(redis.url).hit(rich, None, "text")).refused
        # This minute, which began with the first token, and most of the next.
        assert refused is not None
        assert 60 + 40 <= (refused.retry_after_s or 0) <= 60 + 60

    run(use())


def test_a_request_is_one_question_and_what_is_refused_for_tokens_is_not_counted(
    redis: Redis, me: Caller
) -> None:
    both = Caller(me.id, me.scopes, Allowance(requests_per_minute=5, tokens_per_minute=100))

    async def asked() -> int:
        from redis.asyncio import Redis as AsyncRedis

        client = AsyncRedis.from_url(redis.url)
        try:
            stats = await client.info("commandstats")
            return sum(stats[name]["calls"] for name in stats if name.startswith("cmdstat_eval"))
        finally:
            await client.aclose()

    async def use() -> None:
        server = limits(redis.url)
        # The first has the script loaded.
        assert await let_in(server, both, 1) == 1
        before = await asked()
        assert await let_in(server, both, 2) == 2
        assert await asked() == before + 2
        server.used_tokens(both.id, 100)
        await server.close()
        server = limits(redis.url)
        for _ in range(2):
            counted = await server.hit(both, None, "text")
            assert isinstance(counted.refused, RateLimited)
            assert counted.refused.details["kind"] == "tokens"
            told = dict(counted.headers)
            assert told[b"x-ratelimit-remaining-tokens"] == b"0"
            assert told[b"x-ratelimit-remaining-requests"] == b"2"
        await server.close()

    run(use())


def test_killed_in_the_middle_and_started_again(redis: Redis, me: Caller) -> None:
    async def use() -> None:
        clock = Clock()
        is_open = limits(redis.url, clock, limit_text=2)
        closed = limits(redis.url, clock, limit_text=2, limits_down="closed")
        assert await let_in(is_open, me, 3) == 2
        redis.kill()
        assert await let_in(is_open, me, 9) == 9
        refused = (await closed.hit(me, None, "text")).refused
        assert isinstance(refused, BackendUnavailable)
        redis.start()
        # Not asked again at once; then both count, on connections that are made anew.
        assert await let_in(is_open, me, 9) == 9
        clock.now += PAUSE_S
        assert await let_in(is_open, me, 9) == 2
        assert await let_in(closed, me, 9) == 0
        await is_open.close()
        await closed.close()

    run(use())


def test_one_that_hangs_is_not_waited_for(
    redis: Redis, me: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use() -> None:
        patient, clock = limits(redis.url, limit_text=2), Clock()
        assert await let_in(patient, me, 3) == 2
        await patient.close()
        # Before it is connected: connections keep the time that they were made with.
        monkeypatch.setattr(store, "TIMEOUT_S", SHORT_S)
        server = limits(redis.url, clock, limit_text=2)
        redis.pause()
        try:
            # One after the other would take longer.
            async with asyncio.timeout(20):
                found = await asyncio.gather(*(let_in(server, me, 1) for _ in range(100)))
        finally:
            redis.resume()
        assert sum(found) == 100
        # On a busy machine an answer may come too late once more.
        clock.now += PAUSE_S
        while await let_in(server, me, 1) != 0:
            clock.now += PAUSE_S
        await server.close()

    run(use())


def refusal_of(client: httpx.Client) -> httpx.Response | None:
    answer = client.get("/v1/models")
    assert answer.status_code != 200
    return answer if answer.status_code == 429 else None


def test_two_servers_as_processes(redis: Redis, models: Path, tmp_path: Path) -> None:
    settings = {
        "ONEBOX_LIMITS": "public",
        "ONEBOX_LIMIT_OTHER": "3",
        "ONEBOX_LIMITS_DOWN": "closed",
    }
    with (
        running_server(
            tmp_path / "one", models, wait_ready=False, ONEBOX_LIMITS_URL=redis.url, **settings
        ) as one,
        running_server(
            tmp_path / "two", models, wait_ready=False, ONEBOX_LIMITS_URL=redis.url, **settings
        ) as two,
        one.client() as here,
        two.client() as there,
    ):
        answers = [client.get("/v1/tasks/none/x") for client in (here, there)]
        assert {answer.status_code for answer in answers} == {404}
        found = [client.get("/v1/models") for client in (here, there, here, there, here)]
        # An answer of Redis that comes late is none; what it counted it has counted.
        late = [answer.status_code for answer in found].count(503)
        assert [answer.status_code for answer in found].count(200) >= 3 - late
        for client in (here, there):
            refused = wait_for(lambda client=client: refusal_of(client))
            assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        taken = [answer for answer in found if answer.status_code == 200]
        assert len(taken) <= 3
        left = [answer.headers["x-ratelimit-remaining-requests"] for answer in taken]
        assert left == sorted(left, reverse=True)
        # What uvicorn would have believed of this machine by itself.
        forged = {"X-Forwarded-For": "203.0.113.5"}
        assert here.get("/health", headers=forged).status_code == 200
        assert "203.0.113.5" not in "".join(one.lines)
