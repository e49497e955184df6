"""`Conversion`: checkpoints that are pickles become safetensors when they are first used."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import structlog

from onebox.core.contracts import Entry
from onebox.core.errors import (
    DeadlineExceeded,
    ModelBroken,
    ModelBusy,
    QueueFull,
    ShuttingDown,
    WorkerLost,
)
from onebox.core.settings import Settings
from onebox.registry.converted import ConvertedStore
from onebox.registry.on_disk import CheckpointOnDisk
from onebox.registry.registry import Registry
from onebox.services.pickles.converter import Converter

log = structlog.get_logger(__name__)

# When asking again for what is still being converted may make sense.
RETRY_S = 15.0
# Between two words of progress.
STEP_S = 0.5

MakeConverter = Callable[[CheckpointOnDisk], Converter]


class Conversion:
    """Owns the conversions that run, on the gateway's event loop: one at a time, and each once,
    however many wait for it. One that nobody waits for any more goes on.

    Args:
        timeout_s: for how long anybody may wait.
        max_waiting: how many may wait.
    """

    def __init__(
        self,
        registry: Registry,
        store: ConvertedStore | None,
        *,
        timeout_s: float,
        max_waiting: int,
        make_converter: MakeConverter | None = None,
    ) -> None:
        self._registry = registry
        self._store = store
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        self._make_converter = make_converter or _make_converter
        self._tasks: dict[str, asyncio.Task[Entry]] = {}
        self._fractions: dict[str, float] = {}
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._converter: Converter | None = None
        self._closed = False

    async def converted(self, entry: Entry, timeout_s: float | None = None) -> Entry:
        """The entry with what it is, once its pickles are converted; any other as it is.

        Raises ModelBroken, ModelNotFound, ModelBusy, ModelTooLarge, WorkerLost, QueueFull,
        DeadlineExceeded, ShuttingDown.
        """
        if not entry.unconverted:
            return entry
        if self._waiting >= self._max_waiting:
            raise QueueFull(
                f"{self._waiting} requests wait for models to be converted; try again later",
                retry_after_s=RETRY_S,
            )
        task = self._tasks.get(entry.key) or self._start(entry)
        limit_s = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        self._waiting += 1
        try:
            return await asyncio.wait_for(asyncio.shield(task), limit_s)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{entry.name} is still being converted to safetensors; try again later",
                retry_after_s=RETRY_S,
            ) from None
        finally:
            self._waiting -= 1

    async def steps(
        self, entry: Entry, timeout_s: float | None = None
    ) -> AsyncGenerator[float | Entry, None]:
        """How much is converted, from 0 to 1, now and then; last what `converted` gives.

        Raises as that does.
        """
        waiting = asyncio.ensure_future(self.converted(entry, timeout_s))
        try:
            while not (await asyncio.wait([waiting], timeout=STEP_S))[0]:
                yield self._fractions.get(entry.key, 0.0)
            yield waiting.result()
        finally:
            waiting.cancel()

    async def close(self) -> None:
        """End what runs; whoever waits gets ShuttingDown."""
        self._closed = True
        if self._converter is not None:
            self._converter.stop()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _start(self, entry: Entry) -> asyncio.Task[Entry]:
        task = asyncio.create_task(self._run(entry), name=f"convert-{entry.key}")
        self._tasks[entry.key] = task
        task.add_done_callback(lambda done: self._ended(entry.key, done))
        return task

    def _ended(self, key: str, task: asyncio.Task[Entry]) -> None:
        del self._tasks[key]
        self._fractions.pop(key, None)
        # Looked at, so that one that everybody left is not reported as forgotten.
        if not task.cancelled():
            task.exception()

    async def _run(self, entry: Entry) -> Entry:
        async with self._turn:
            if self._closed:
                raise ShuttingDown("the server is shutting down; try again", retry_after_s=10)
            started = time.monotonic()
            log.info("converting a pickle", model=entry.name, size_bytes=entry.size_bytes)
            try:
                done = await asyncio.to_thread(self._convert, entry)
            except ModelBroken as error:
                self._registry.mark_broken(entry, error.message)
                message = f"{entry.name} cannot be used: {error.message}"
                raise ModelBroken(message, param="model") from error
            except OSError as error:
                raise WorkerLost(
                    f"{entry.name} could not be converted ({error.strerror}); try again",
                    retry_after_s=RETRY_S,
                ) from error
            log.info("converted", model=entry.name, seconds=round(time.monotonic() - started, 1))
            return done

    def _convert(self, entry: Entry) -> Entry:
        """Blocks. What it converts is what was hashed, or it is thrown away."""
        entry = self._registry.identify(entry)
        if not entry.unconverted or entry.sha256 is None or self._store is None:
            return _require_known(entry)
        on_disk = self._registry.on_disk(entry)
        converter = self._converter = self._make_converter(on_disk)
        if self._closed:
            converter.stop()
        with _workspace(self._store) as workspace:
            made = workspace / "made"
            converter.run(made, lambda fraction: self._tell(entry, fraction))
            if self._registry.ensure_fresh(entry).sha256 != entry.sha256:
                raise _changed(entry)
            self._store.keep(made, entry.sha256, is_folder=on_disk.is_folder)
        return self._registry.take_conversion(entry)

    def _tell(self, entry: Entry, fraction: float) -> None:
        self._fractions[entry.key] = fraction


@contextlib.contextmanager
def _workspace(store: ConvertedStore) -> Iterator[Path]:
    workspace = store.workspace()
    try:
        yield workspace
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def converted_store(settings: Settings) -> ConvertedStore | None:
    """None: pickles are refused."""
    if settings.pickle == "refuse":
        return None
    return ConvertedStore(settings.data_dir / "converted")


def create_conversion(settings: Settings, registry: Registry) -> Conversion:
    """For the owner of the data folder. `registry` was made with the same settings."""
    store = converted_store(settings)
    if store is not None:
        store.clear_unfinished()
    return Conversion(
        registry, store, timeout_s=settings.request_timeout, max_waiting=settings.max_queue
    )


def _make_converter(on_disk: CheckpointOnDisk) -> Converter:
    return Converter(on_disk.path, on_disk.files, is_folder=on_disk.is_folder)


def _require_known(entry: Entry) -> Entry:
    if entry.unconverted and entry.status != "broken":
        raise _changed(entry)
    return entry


def _changed(entry: Entry) -> ModelBusy:
    return ModelBusy(
        f"{entry.name!r} changed while it was converted; try again",
        param="model",
        retry_after_s=1.0,
        should_retry=True,
    )
