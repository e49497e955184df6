"""Hooks in the server that they belong to: on the way in, at the gate, in the ledger."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from onebox.core.errors import (
    BackendUnavailable,
    ConfigurationError,
    InsufficientCredits,
    Unauthorized,
)
from onebox.core.settings import load_settings
from onebox.core.settings_hooks import HookSettings
from onebox.services.access.caller import Caller
from onebox.services.hooks.creation import create_usage_hooks
from onebox.services.hooks.usage_reports import EVENT
from onebox.services.metrics import Metrics
from onebox.services.outgoing.retrying import FIRST_WAIT_S, JITTER, RETRIES, WAIT_GROWTH
from onebox.services.webhooks import outbox
from onebox.services.webhooks.creation import create_webhooks
from tests.support import backend as replies
from tests.support.backend import Backend, Reply, said
from tests.unit.api.asking import build, tear_down
from tests.unit.services.kitchen import MODEL, FakeTask
from tests.unit.services.test_usage_reports import usage_of

ADA = Caller("backend:42", frozenset({"infer"}))


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend(said({"valid": True, "user_id": 42, "allowed": True})) as made:
        yield made


def with_services(folder, work: Callable[[Any], Coroutine[Any, Any, None]], **settings: Any):
    """Give a server's services to the work, on an event loop."""
    services = build(folder, hook_key="operators-key", hook_retries=0, **settings)

    async def run() -> None:
        try:
            await work(services)
        finally:
            await services.usage.close()
            await services.access.close()

    try:
        asyncio.run(run())
    finally:
        tear_down(services)


async def enter(services, token: str) -> Caller:
    entered = await services.access.enter(
        authorization=f"Bearer {token}", address="127.0.0.1", route_class="text"
    )
    if entered.refused is not None:
        raise entered.refused
    return entered.caller


def test_all_four_retries_fit_into_the_time_that_a_request_waits():
    fields = HookSettings.model_fields
    retries, timeout_s, wait_s = (
        fields[name].default for name in ("hook_retries", "hook_timeout", "hook_wait")
    )
    longest_s = sum(FIRST_WAIT_S * WAIT_GROWTH**n for n in range(retries)) * (1 + JITTER)
    assert retries == RETRIES == 4
    assert wait_s - timeout_s >= longest_s


def test_only_what_the_server_does_not_know_is_asked_for(tmp_path, backend):
    async def work(services) -> None:
        assert (await enter(services, "user-key")).id.startswith("key:")
        assert backend.received == []
        assert (await enter(services, "of-the-backend")).id == "backend:42"
        assert backend.received[0].headers["x-onebox-key"] == "operators-key"

    with_services(tmp_path, work, auth_verify_url=backend.url())


def test_who_is_known_is_let_in_while_the_backend_is_down(tmp_path, backend):
    backend.usual = replies.DOWN

    async def work(services) -> None:
        with pytest.raises(BackendUnavailable):
            await enter(services, "of-the-backend")
        assert (await enter(services, "user-key")).id.startswith("key:")

    with_services(tmp_path, work, auth_verify_url=backend.url())


def test_a_token_that_nobody_knows_is_refused(tmp_path, backend):
    backend.usual = Reply(401)

    async def work(services) -> None:
        with pytest.raises(Unauthorized):
            await enter(services, "of-nobody")

    with_services(tmp_path, work, auth_verify_url=backend.url())


def test_a_server_that_others_reach_may_leave_all_callers_to_the_backend(tmp_path, backend):
    async def work(services) -> None:
        assert services.generated_key is None
        assert (await enter(services, "of-the-backend")).id == "backend:42"

    given = {"host": "0.0.0.0", "api_keys": (), "admin_keys": (), "secret_key": None}
    with_services(tmp_path, work, auth_verify_url=backend.url(), **given)


def test_who_has_no_credits_does_not_pass_the_gate(tmp_path, backend):
    backend.usual = Reply(402)

    async def work(services) -> None:
        with pytest.raises(InsufficientCredits):
            await services.usage.gatekeeper.admit(FakeTask(), MODEL, ADA)
        asked = json.loads(backend.received[0].body)
        assert (asked["user_id"], asked["task"], asked["model"]) == ("42", "fake", MODEL.name)

    with_services(tmp_path, work, credit_check_url=backend.url())


def test_rows_of_the_ledger_are_in_the_outbox_as_soon_as_they_are_written(tmp_path, backend):
    async def work(services) -> None:
        for number in range(3):
            services.usage.ledger.record(usage_of(number))
        await services.usage.ledger.flush()
        await services.usage.ledger.flush()
        events = await services.database.read(events_of)
        assert [event["type"] for event in events] == [EVENT]
        records = events[0]["data"]["records"]
        assert [record["id"] for record in records] == ["use_0", "use_1", "use_2"]

    with_services(tmp_path, work, usage_webhook_url=backend.url())


def test_a_group_that_is_written_twice_is_told_once(tmp_path, backend):
    async def work(services) -> None:
        ledger = services.usage.ledger
        ledger.record(usage_of(1))
        await ledger.flush()
        ledger.record(usage_of(1))
        await ledger.flush()
        assert len(await services.database.read(events_of)) == 1

    with_services(tmp_path, work, usage_webhook_url=backend.url())


def test_without_a_url_nothing_is_told(tmp_path):
    async def work(services) -> None:
        services.usage.ledger.record(usage_of(1))
        await services.usage.ledger.flush()
        assert await services.database.read(events_of) == []

    with_services(tmp_path, work)


def test_a_url_that_webhooks_cannot_go_to_is_refused_at_the_start(tmp_path):
    settings = load_settings(
        root=tmp_path, data_dir=tmp_path, usage_webhook_url="http://0x7f.1/usage"
    )
    webhooks = create_webhooks(settings, None, Metrics(list))
    with pytest.raises(ConfigurationError, match="ONEBOX_USAGE_WEBHOOK_URL"):
        create_usage_hooks(settings, webhooks)


def events_of(connection) -> list[dict[str, Any]]:
    hosts = outbox.due_hosts(connection, 1e12, ())
    found = [outbox.first_due(connection, host, 1e12) for host in hosts]
    return [json.loads(delivery.body) for delivery in found]
