"""`BACKEND_URL`: a backend that was written for a try-on server, unchanged, behind this one."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import httpx
import pytest

from onebox.api.app import create_app
from onebox.services.request import Outcome, Prepared
from tests.support.backend import Backend, Reply, said
from tests.support.receiver import Received
from tests.unit.api.asking import bounded, build, tear_down
from tests.unit.api.drawing import Drawings
from tests.unit.api.test_compat_tryon import ASKED, PATH

VERIFY = "/api/v1/auth/verify/"
CREDITS = "/api/v1/credits/check/"
WEBHOOK = "/api/v1/inference/webhook/"
BY_SHOP = {**ASKED, "api_key": "key-of-the-shop"}


class Fitting(Drawings):
    """Draws behind the server's own gate; each picture costs `credits`."""

    services: Any = None
    credits = 0.0

    async def prepare(self, *args: Any, caller: Any, **given: Any) -> Prepared:
        made = await super().prepare(*args, caller=caller, **given)
        await self.services.usage.gatekeeper.admit(made.task, made.entry, caller)
        return made

    async def run(self, prepared: Any) -> Outcome:
        prepared.credits = self.credits
        return await super().run(prepared)


class Served:
    """A server with the family `tryon` before a backend, in a loop of its own.

    Users are new in each test, for what was answered about one is remembered.
    """

    def __init__(self, folder: Any, backend: Backend, **settings: Any) -> None:
        self.backend = backend
        self.services = build(
            folder, compat=("tryon",), compat_backend_url=backend.url("/"), **settings
        )
        self.drawings = Fitting()
        self.drawings.services = self.services
        app = create_app(dataclasses.replace(self.services, inference=self.drawings))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://testserver")
        self._runner = asyncio.Runner()
        self._runner.run(self.services.webhooks.start())

    def run(self, work: Callable[[Served], Coroutine[Any, Any, None]]) -> None:
        """A test, with what the backend was asked in it."""
        self.backend.received.clear()
        self._runner.run(bounded(work(self)))

    async def create(self, **changed: Any) -> httpx.Response:
        return await self.client.post(PATH, json={**BY_SHOP, **changed})

    def asked(self, path: str) -> list[Received]:
        return [each for each in self.backend.received if each.path.partition("?")[0] == path]

    async def told(self) -> Received:
        """The next webhook, waited for."""
        while (request := await asyncio.to_thread(self.backend.next)).path != WEBHOOK:
            pass
        return request

    def close(self) -> None:
        self._runner.run(self.client.aclose())
        self._runner.run(self.services.usage.close())
        self._runner.run(self.services.access.close())
        self._runner.run(self.services.webhooks.close())
        self._runner.close()
        tear_down(self.services)


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend(Reply(404)) as made:
        made.at = {
            VERIFY: said({"status": "ok", "user": {"name": "Ada"}, "id": 7}),
            CREDITS: said({"has_credits": True, "available_credits": 12}),
            WEBHOOK: said({"status": "ok"}),
            "/credits": said({"allowed": True}),
        }
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory, backend) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("shop"), backend)
    yield made
    made.close()


@pytest.fixture(scope="module")
def priced(tmp_path_factory, backend) -> Iterator[Served]:
    """With prices, and a URL for credits of our own."""
    own = {"prices": {"pictures": 2}, "credit_check_url": backend.url("/credits")}
    made = Served(tmp_path_factory.mktemp("priced"), backend, **own)
    yield made
    made.close()


def test_it_is_asked_and_told_in_its_own_words(server):
    async def work(served: Served) -> None:
        answer = await served.create()
        assert answer.status_code == 200, answer.text
        webhook = await served.told()
        verify, credits = served.backend.received[:2]
        assert (verify.method, verify.path) == ("POST", VERIFY)
        assert json.loads(verify.body) == {"user_id": "user123", "api_key": "key-of-the-shop"}
        assert verify.headers["content-type"] == "application/json"
        # A framework would take it for a login and refuse the request before its view saw it.
        assert "authorization" not in verify.headers
        assert (credits.method, credits.path) == ("GET", f"{CREDITS}?user_id=user123")
        assert credits.body == b""
        assert (webhook.method, webhook.headers["content-type"]) == ("POST", "application/json")
        assert json.loads(webhook.body) == {
            "user_id": "user123",
            "used_credits": 1,
            "catalog_id": "catalog456",
            "image_url": answer.json()["image_url"],
            "latency_ms": answer.json()["latency_ms"],
        }

    server.run(work)


def test_names_of_users_are_escaped(server):
    async def work(served: Served) -> None:
        user = "a&b=c d/é"
        assert (await served.create(user_id=user)).status_code == 200
        (credits,) = served.asked(CREDITS)
        assert httpx.URL(credits.path).params == httpx.QueryParams(user_id=user)
        assert json.loads((await served.told()).body)["user_id"] == user

    server.run(work)


def test_each_finished_picture_is_told_of_once(server):
    async def work(served: Served) -> None:
        for number in range(3):
            answer = await served.create(user_id="regular", catalog_id=str(number))
            assert answer.status_code == 200
        told = [json.loads((await served.told()).body)["catalog_id"] for _ in range(3)]
        assert sorted(told) == ["0", "1", "2"]
        assert len(served.asked(WEBHOOK)) == 3
        # What was answered holds for a while.
        assert len(served.asked(VERIFY)) == len(served.asked(CREDITS)) == 1

    server.run(work)


def test_who_is_not_known_there_is_401(server):
    async def work(served: Served) -> None:
        served.backend.script.append(said({"detail": "Invalid user_id or api_key"}, 401))
        answer = await served.create(user_id="stranger")
        assert (answer.status_code, answer.json()["error_code"]) == (401, "INVALID_API_KEY")
        assert served.asked(CREDITS) == served.asked(WEBHOOK) == []

    server.run(work)


def test_who_has_no_credits_is_403(server):
    async def work(served: Served) -> None:
        served.backend.script.append(said({"status": "ok"}))
        served.backend.script.append(said({"has_credits": False, "available_credits": 0}))
        answer = await served.create(user_id="poor")
        assert (answer.status_code, answer.json()["error_code"]) == (403, "INSUFFICIENT_CREDITS")
        assert served.asked(WEBHOOK) == []

    server.run(work)


def test_a_key_of_the_shop_asks_for_its_users_credits(server):
    async def work(served: Served) -> None:
        answer = await served.create(api_key="user-key", user_id="customer")
        assert answer.status_code == 200
        assert json.loads((await served.told()).body)["user_id"] == "customer"
        assert served.asked(VERIFY) == []
        assert [each.path for each in served.asked(CREDITS)] == [f"{CREDITS}?user_id=customer"]

    server.run(work)


def test_a_token_without_a_user_is_not_asked_about(server):
    async def work(served: Served) -> None:
        headers = {"authorization": "Bearer key-of-the-shop"}
        answer = await served.client.get("/v1/models", headers=headers)
        assert answer.status_code == 401
        assert served.backend.received == []

    server.run(work)


def test_a_picture_that_was_not_made_is_not_told_of(server, monkeypatch):
    monkeypatch.setattr(server.drawings, "failure", ValueError("a bug"))

    async def work(served: Served) -> None:
        assert (await served.create(user_id="unlucky")).status_code == 500
        assert served.asked(WEBHOOK) == []

    server.run(work)


def test_a_database_that_fails_takes_nobodys_picture(server, monkeypatch):
    async def fail(_: Any) -> None:
        raise OSError("the disk is full")

    async def work(served: Served) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(served.services.database, "write", fail)
            assert (await served.create(user_id="lucky")).status_code == 200

    server.run(work)


@pytest.mark.parametrize(("charged", "used"), [(2.0, b"2"), (0.5, b"0.5"), (0.0, b"0")])
def test_with_prices_it_is_told_what_the_ledger_charged(priced, charged, used):
    async def work(served: Served) -> None:
        served.drawings.credits = charged
        assert (await served.create()).status_code == 200
        assert b'"used_credits":' + used + b"," in (await served.told()).body

    priced.run(work)


def test_a_url_that_is_set_is_asked_in_our_own_words(priced):
    async def work(served: Served) -> None:
        assert (await served.create(user_id="other")).status_code == 200
        await served.told()
        (credits,) = served.asked("/credits")
        assert credits.method == "POST"
        assert json.loads(credits.body)["user_id"] == "other"
        assert served.asked(CREDITS) == []

    priced.run(work)
