"""A minute of faults of every kind under load: each request has one end, and nothing is left."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx
import psutil
import pytest
from PIL import Image

from tests.support.chaos import BOUND_S, LEFT, MODELS, PICTURES, Crowd, Ledger
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.ends import plain_end, wait_until_ready
from tests.support.faults_plugin import PLUGINS
from tests.support.server import ADMIN_KEY, ROOT, Server, running_server, wait_for

SECONDS = 60.0
WARM_UP_S = 2.0
SEED = 20
MIB = 1024 * 1024
# What a request may be told while all this happens. Nothing else is an answer.
EXPECTED = {
    "ok",
    LEFT,
    "worker_lost",
    "worker_unready",
    "model_unloaded",
    "insufficient_memory",
    "inference_failed",
    "deadline_exceeded",
    "cancelled",
}
# asyncio fills its pool of threads on demand, up to this many, and keeps them.
THREADS_MORE = min(32, (os.cpu_count() or 1) + 4)
# A connection or two that the kernel has not closed yet.
DESCRIPTORS_MORE = 4
# What the allocator keeps of the bodies of 5 MiB that went through: 1 to 33 MiB were seen. That it
# does not grow with time is shown by benchmarks/soak.py.
BYTES_MORE = 64 * MIB
BUGS_IN_THE_LOG = ("unhandled_error", "never retrieved", "answer_failed", "housekeeping_failed")


@dataclass(frozen=True, slots=True)
class Held:
    """What the gateway holds of the system; `files` are in the spool and the temporary folder."""

    threads: int
    descriptors: int
    resident_bytes: int
    files: frozenset[str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("models")
    for name in MODELS:
        dummy_checkpoint(models / name, resident_bytes=90 * MIB, load_s=0.05, called=name)
    dummy_checkpoint(models / "unloadable", load_error=True)
    shutil.copytree(ROOT / "ai-models" / PICTURES, models / PICTURES)
    folder = tmp_path_factory.mktemp("server")
    (folder / "tmp").mkdir()
    settings = {
        "ONEBOX_DEVICE": "cpu,cpu",
        "ONEBOX_MEMORY_BUDGET": "300MiB",
        "ONEBOX_REQUEST_TIMEOUT": "20",
        "ONEBOX_LEASE_TIMEOUT": "5",
        "ONEBOX_HANG_TIMEOUT": "10",
        "ONEBOX_SHUTDOWN_GRACE": "0",
        "TMPDIR": str(folder / "tmp"),
    }
    with running_server(folder / "data", models, **PLUGINS, **settings) as running:
        yield running


class Faults:
    """Everything that is done to the server, in an order that only the seed decides."""

    DECK: ClassVar[dict[str, int]] = {
        "kill a worker": 2,
        "segfault": 1,
        "hang": 1,
        "bug": 3,
        "out of memory": 3,
        "failing load": 3,
        "force unload": 6,
        "cancel": 10,
        "rescan": 3,
    }

    def __init__(self, server: Server, ledger: Ledger) -> None:
        self._server, self._ledger = server, ledger
        self._chance = random.Random(SEED)
        self._admin = server.client(ADMIN_KEY)
        self._asked = ThreadPoolExecutor(8)
        self.told: Counter[tuple[str, int]] = Counter()

    def fire(self, seconds: float) -> None:
        """All of the deck, evenly spread over the time."""
        deck = [name for name, times in self.DECK.items() for _ in range(times)]
        self._chance.shuffle(deck)
        began = time.monotonic()
        pending: list[Future[None]] = []
        for n, name in enumerate(deck):
            time.sleep(max(0.0, began + n * seconds / len(deck) - time.monotonic()))
            pending.append(self._asked.submit(self._actions()[name]))
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        for action in pending:
            action.result(2 * BOUND_S)
        self._admin.close()

    def _actions(self) -> dict[str, Callable[[], None]]:
        model = self._chance.choice(MODELS)
        return {
            "kill a worker": self._kill,
            "segfault": lambda: self._ask("fault", model=model, kind="sigsegv"),
            "hang": lambda: self._ask("fault", model=model, kind="hold the GIL", timeout_s=2),
            "bug": lambda: self._ask("steps", model=model, fail="bug"),
            "out of memory": lambda: self._ask("steps", model=model, fail="memory"),
            "failing load": lambda: self._ask("echo", model="unloadable"),
            "force unload": lambda: self._tell(f"models/{model}/unload", force=True),
            "cancel": self._cancel,
            "rescan": lambda: self._tell("models/rescan"),
        }

    def _kill(self) -> None:
        if workers := self._server.workers():
            self._chance.choice(workers).kill()

    def _cancel(self) -> None:
        if asked := self._ledger.open_ids():
            self._tell(f"requests/{self._chance.choice(asked)}/cancel")

    def _ask(self, task: str, **body: Any) -> None:
        """A faulty request is a request like all others: it has one end."""
        with self._server.client() as client, self._ledger.request("faulty") as (name, ends):
            client.timeout = httpx.Timeout(BOUND_S)
            ends.append(plain_end(client, task, request_id=name, **body).code)

    def _tell(self, path: str, **body: Any) -> None:
        answer = self._admin.post(f"/v1/{path}", json=body)
        self.told[path.split("/")[-1], answer.status_code] += 1


def test_a_minute_of_chaos(server: Server) -> None:
    with server.client() as client:
        wait_for(lambda: workers_ready(client), BOUND_S)
        warm_up(server)
        wait_until_quiet(server, client)
        before = held(server)
        ledger = Ledger("chaos")
        faults = Faults(server, ledger)
        with Crowd(server, ledger, SEED).asking():
            faults.fire(SECONDS)
        print("\n".join(map(str, sorted(ledger.counts().items()))))
        print(f"longest: {ledger.longest_s:.1f} s; told: {faults.told}")

        print(before, held(server))
        check_ledger(server, ledger)
        # Not there any more, or in the middle of dying: all other answers would be faults of ours.
        assert {status for _, status in faults.told} <= {200, 404, 409, 503}
        wait_for(lambda: workers_ready(client), 2 * BOUND_S)
        restarts = sum(device["restarts"] for device in status(client)["devices"])
        assert restarts >= 2, "the faults did not reach the workers"
        wait_until_quiet(server, client)
        check_nothing_leaked(server, before)
        check_a_picture(server)


def check_ledger(server: Server, ledger: Ledger) -> None:
    """Each request had one end, of those that are allowed, in time; and the server knows it."""
    assert not ledger.open_ids()
    counts = ledger.counts()
    assert {end for _, end in counts} <= EXPECTED, counts
    assert ledger.longest_s < BOUND_S
    kinds = {kind for kind, _ in counts}
    assert kinds == {"plain", "streamed", "sdk", "leaving", "faulty"}
    assert all(counts[kind, "ok"] for kind in ("plain", "streamed", "sdk"))
    assert counts["leaving", LEFT]
    # What clients have left is logged when that is noticed.
    wait_for(lambda: set(ledger.ends) <= set(request_ids(server)))
    asked = Counter(request_ids(server))
    assert {name: asked[name] for name in ledger.ends} == dict.fromkeys(ledger.ends, 1)
    assert not [line for line in server.log() if any(bug in line for bug in BUGS_IN_THE_LOG)]


def check_nothing_leaked(server: Server, before: Held) -> None:
    assert_soon_at_most(lambda: held(server).threads, before.threads + THREADS_MORE)
    assert_soon_at_most(lambda: held(server).descriptors, before.descriptors + DESCRIPTORS_MORE)
    assert_soon_at_most(lambda: held(server).resident_bytes, before.resident_bytes + BYTES_MORE)
    wait_for(lambda: held(server).files == before.files)
    wait_for(lambda: not os.listdir(server.data_dir / "spool"))


def check_a_picture(server: Server) -> None:
    with server.sdk() as sdk:
        answer = sdk.images.generate(model=PICTURES, prompt="a red circle", size="64x64")  # type: ignore[call-overload]  # ours, not OpenAI's
    image = Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json)))
    assert image.size == (64, 64)


def warm_up(server: Server) -> None:
    """Fill the pools of threads and the caches, so that only what grows later counts."""
    with Crowd(server, Ledger("warm-up"), SEED + 1).asking():
        time.sleep(WARM_UP_S)


def wait_until_quiet(server: Server, client: httpx.Client) -> None:
    """Nobody asks, so nothing waits, runs, or is leased."""

    def is_quiet() -> bool:
        told = status(client)
        bundles = [bundle for device in told["devices"] for bundle in device["bundles"]]
        held_bundles = [b for b in bundles if b["leases"] or b["reserved_bytes"]]
        busy = told["running"]["count"] or told["queue"]["waiting"] or held_bundles
        return not busy and {b["state"] for b in bundles} <= {"ready"}

    wait_until_ready(client)
    wait_for(is_quiet, BOUND_S)


def workers_ready(client: httpx.Client) -> bool:
    return [device["state"] for device in status(client)["devices"]] == ["ready", "ready"]


def status(client: httpx.Client) -> dict[str, Any]:
    told: dict[str, Any] = client.get("/v1/status").json()
    return told


def held(server: Server) -> Held:
    gateway = psutil.Process(server.process.pid)
    folders = (server.data_dir / "spool", server.data_dir.parent / "tmp")
    files = frozenset(str(path) for folder in folders for path in folder.rglob("*"))
    memory = gateway.memory_info().rss
    return Held(gateway.num_threads(), gateway.num_fds(), memory, files)


def assert_soon_at_most(value: Callable[[], int], limit: int) -> None:
    try:
        wait_for(lambda: value() <= limit)
    except AssertionError:
        raise AssertionError(f"{value()} are more than {limit}") from None


def request_ids(server: Server) -> Iterator[str]:
    """The requests in the access log."""
    for line in list(server.lines):
        if line.startswith("{") and '"request"' in line:
            entry = json.loads(line)
            if entry["event"] == "request":
                yield entry["request_id"]
