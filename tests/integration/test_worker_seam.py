"""The seam between gateway and worker: a process and a thread behave the same behind it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onebox.core.contracts import Entry
from onebox.core.media import Spool
from onebox.core.plugins import load_plugins
from onebox.runtime import wire
from onebox.runtime.inline_client import InlineWorkerClient
from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.process_client import ProcessWorkerClient
from onebox.runtime.worker_client import WorkerClient
from onebox.services.jobs.ids import new_id
from tests.support.pieces_plugin import PLUGINS

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
    monkeypatch.setenv("ONEBOX_PLUGINS", PLUGINS["ONEBOX_PLUGINS"])
    monkeypatch.setenv("PYTHONPATH", "src:.")
    load_plugins()
    start = wire.Start(
        index=0,
        devices=("cpu",),
        threads=1,
        memory_budget="100MiB",
        idle_timeout_s=60,
        lease_timeout_s=10,
        leak_limit_bytes=1024**3,
        batch_window_s=0,
        max_sequences=8,
        prefix_cache_bytes=0,
        spool=str(tmp_path / "spool"),
    )
    spool = Spool(tmp_path / "spool")

    def create() -> WorkerClient:
        pools = MemoryPools(lambda device, nominal_bytes: nominal_bytes)
        if request.param == "inline":
            return InlineWorkerClient(start, spool, pools, lambda _: True)
        return ProcessWorkerClient(
            start,
            spool,
            pools,
            lambda _: True,
            hang_timeout_s=60,
            environment=os.environ,
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
    async with client.submit(frame) as events:
        return [event async for event in events]


def submit(request_id: str, task: str, entry: Entry = ENTRY, **request: Any) -> wire.Submit:
    return wire.Submit(request_id, task, entry, request, "me", "interactive", 60, 1000)


def kinds(events: list[wire.Event]) -> list[str]:
    return [type(event).__name__ for event in events]


async def stats(client: WorkerClient, request_id: str) -> wire.WorkerStats:
    (answer,) = await ask(client, wire.Stats(request_id))
    assert isinstance(answer, wire.Result)
    assert answer.stats is not None
    return answer.stats


async def counted(client: WorkerClient, entry: Entry) -> bytes | None:
    """What there is of pieceworks."""
    end = (await ask(client, submit(new_id("count"), "open-pieces", entry)))[-1]
    assert isinstance(end, wire.Result)
    (counts,) = end.artifacts
    return counts.data


def test_load_run_unload(with_client: Callable[..., None]) -> None:
    async def body(client: WorkerClient) -> None:
        loaded = await ask(client, wire.Load("1", ENTRY, "me", 60, 1000))
        # Between them, more of Loading while a load takes long.
        assert loaded[0] == wire.Loading("1", 0.0)
        assert loaded[-2] == wire.Loading("1", 1.0, 1000)
        assert isinstance(loaded[-1], wire.Result)
        after = await stats(client, "2")
        # All of its memory pool, for it is alone there.
        assert after.budget_bytes == 100 * 1024**2
        (bundle,) = after.bundles
        assert (bundle.name, bundle.state, bundle.size_bytes) == ("dummy", "ready", 1000)
        ran = await ask(client, submit("3", "steps", steps=2))
        assert kinds(ran) == ["Started", "Progress", "Progress", "Result"]
        assert isinstance((await ask(client, wire.Unload("4", "k", 5)))[-1], wire.Result)
        assert (await stats(client, "5")).bundles == ()
        assert client.hello is not None
        assert client.hello.device.id == "cpu"

    with_client(body)


def test_a_model_in_use_is_not_unloaded_and_leaving_cancels(
    with_client: Callable[..., None],
) -> None:
    async def body(client: WorkerClient) -> None:
        async with client.submit(submit("1", "steps", steps=100_000, step_s=0.01)) as events:
            while not isinstance(await anext(events), wire.Progress):
                pass
            (refused,) = await ask(client, wire.Unload("2", "k", 0.1))
            assert isinstance(refused, wire.Failed)
            assert refused.code == "model_busy"
        # The engine runs one request at a time: this is answered only once the other one stopped.
        done = await ask(client, submit("3", "echo", text="on"))
        assert isinstance(done[-1], wire.Result)

    with_client(body)


def test_unloading_by_force_ends_the_requests(with_client: Callable[..., None]) -> None:
    async def body(client: WorkerClient) -> None:
        async with client.submit(submit("1", "steps", steps=100_000, step_s=0.01)) as events:
            while not isinstance(await anext(events), wire.Progress):
                pass
            (done,) = await ask(client, wire.Unload("2", "k", 30, force=True))
            assert isinstance(done, wire.Result)
            ended = [event async for event in events][-1]
        assert isinstance(ended, wire.Failed)
        assert (ended.code, ended.should_retry) == ("model_unloaded", False)
        assert (await stats(client, "3")).bundles == ()

    with_client(body)


def test_a_cancelled_request_says_so(with_client: Callable[..., None]) -> None:
    async def body(client: WorkerClient) -> None:
        running = client.submit(submit("1", "steps", steps=100_000, step_s=0.01), only_end=True)
        waiting = client.submit(submit("2", "echo"), only_end=True)
        async with running, waiting:
            client.cancel("2")
            client.cancel("1")
            for exchange in (waiting, running):
                ended = await anext(exchange)
                assert isinstance(ended, wire.Failed)
                assert ended.code == "cancelled"

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


def test_a_request_comes_piece_by_piece(with_client: Callable[..., None], tmp_path: Path) -> None:
    pieces = msgspec.structs.replace(ENTRY, key="p", name="pieces", family="pieces")
    never = str(tmp_path / "never")

    async def body(client: WorkerClient) -> None:
        waiting = client.submit(submit("1", "spell", pieces, words=["a"], cue=never))
        async with waiting:
            ran = await ask(client, submit("2", "spell", pieces, words=["b", "c"], stream=True))
            told = [event for event in ran if not isinstance(event, wire.Loading)]
            sent = [event.data["data"] for event in told if isinstance(event, wire.Delta)]
            assert b"".join(sent) == b"B C <end>"
            steps = [event.step for event in told if isinstance(event, wire.Progress)]
            assert (kinds(told)[0], steps, kinds(told)[-1]) == ("Started", [1, 2], "Result")
            (stopped,) = await ask(client, wire.Unload("3", "p", 5, force=True))
            assert isinstance(stopped, wire.Result)
            *_, ended = [event async for event in waiting]
            assert isinstance(ended, wire.Failed)
            assert ended.code == "model_unloaded"
        async with asyncio.timeout(60):
            # Its thread ends a moment later than it does.
            while await counted(client, pieces) != b'{"open":0,"threads":0}':
                pass

    with_client(body)
