"""The seam between gateway and worker: a process and a thread behave the same behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from onebox.core.contracts import Entry
from onebox.core.media import Spool
from onebox.core.plugins import load_plugins
from onebox.runtime import wire
from onebox.runtime.inline_client import InlineWorkerClient
from onebox.runtime.process_client import ProcessWorkerClient
from onebox.runtime.worker_client import WorkerClient

ENTRY = Entry(
    key="k",
    name="dummy",
    path="/nowhere",
    extension="",
    size_bytes=1,
    status="ready",
    family="dummy",
)


@pytest.fixture(params=["process", "inline"])
def with_client(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[WorkerClient], Coroutine[Any, Any, None]]], None]:
    """Runs a coroutine function with a client whose worker is up."""
    monkeypatch.setenv("ONEBOX_PLUGINS", "tests.support.dummy_plugin")
    monkeypatch.setenv("PYTHONPATH", "src:.")
    load_plugins()
    start = wire.Start(0, ("cpu",), 1, "100MiB", 60, 10, 8, str(tmp_path / "spool"))
    spool = Spool(tmp_path / "spool")

    def create() -> WorkerClient:
        if request.param == "inline":
            return InlineWorkerClient(start, spool, lambda _: True)
        return ProcessWorkerClient(
            start, spool, lambda _: True, log_level="WARNING", log_format="human"
        )

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[WorkerClient]:
        client = create()
        await client.start()
        try:
            await client.wait_ready(120)
            yield client
        finally:
            await client.close(1)

    def run(body: Callable[[WorkerClient], Coroutine[Any, Any, None]]) -> None:
        async def all_of_it() -> None:
            async with running() as client:
                await body(client)

        asyncio.run(all_of_it())

    return run


async def ask(client: WorkerClient, frame: Any) -> list[wire.Event]:
    async with contextlib.aclosing(client.submit(frame)) as events:
        return [event async for event in events]


def submit(request_id: str, task: str, **request: Any) -> wire.Submit:
    return wire.Submit(request_id, task, ENTRY, request, "me", "interactive", 60, 1000)


def test_load_run_unload(with_client: Callable[..., None]) -> None:
    async def body(client: WorkerClient) -> None:
        loaded = await ask(client, wire.Load("1", ENTRY, 1000))
        assert [type(event).__name__ for event in loaded] == [
            "Accepted",
            "Loading",
            "Loading",
            "Result",
        ]
        (stats,) = await ask(client, wire.Stats("2"))
        assert isinstance(stats, wire.Result)
        assert stats.stats is not None
        assert [bundle.name for bundle in stats.stats.bundles] == ["dummy"]
        ran = await ask(client, submit("3", "steps", steps=2))
        assert [type(event).__name__ for event in ran] == [
            "Accepted",
            "Progress",
            "Progress",
            "Result",
        ]
        assert isinstance((await ask(client, wire.Unload("4", "k")))[-1], wire.Result)
        (stats,) = await ask(client, wire.Stats("5"))
        assert isinstance(stats, wire.Result)
        assert stats.stats is not None
        assert stats.stats.bundles == ()
        assert client.hello is not None
        assert client.hello.device.id == "cpu"

    with_client(body)


def test_a_model_in_use_is_not_unloaded_and_leaving_cancels(
    with_client: Callable[..., None],
) -> None:
    async def body(client: WorkerClient) -> None:
        async with contextlib.aclosing(
            client.submit(submit("1", "steps", steps=100_000, step_s=0.01))
        ) as events:
            while not isinstance(await anext(events), wire.Progress):
                pass
            (refused,) = await ask(client, wire.Unload("2", "k"))
            assert isinstance(refused, wire.Failed)
            assert refused.code == "model_busy"
        # The engine runs one request at a time: this is answered only once the other one stopped.
        done = await ask(client, submit("3", "echo", text="on"))
        assert isinstance(done[-1], wire.Result)

    with_client(body)


def test_what_nobody_can_do_is_refused_before_it_is_queued(
    with_client: Callable[..., None],
) -> None:
    async def body(client: WorkerClient) -> None:
        (unknown,) = await ask(client, submit("1", "no-such-task"))
        assert isinstance(unknown, wire.Failed)
        assert unknown.code == "task_not_supported"
        (invalid,) = await ask(client, submit("2", "echo", text=["not", "text"]))
        assert isinstance(invalid, wire.Failed)
        assert invalid.code == "invalid_value"

    with_client(body)
