"""Clients of every kind that never stop asking, and a ledger of how each request ended."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai

from tests.support.asking import EVENTS
from tests.support.ends import End, end_of, plain_end, streamed_end
from tests.support.server import API_KEY, Server

MIB = 1024 * 1024
MODELS = ("one", "two", "three")
PICTURES = "onebox-shapes"
# More than goes through the pipe: it is spooled, on the way in and on the way out.
SPOOLED = b"x" * (5 * MIB)
# A request that has no end after so long counts as hung. The server's own limit is far below.
BOUND_S = 60.0
LEFT = "left"

Ask = Callable[[random.Random, str], str]
Kind = Callable[[Server], contextlib.AbstractContextManager[Ask]]


class Ledger:
    """Every request of every client, from its start to its end. Safe from any thread.

    Args:
        name: what its ids begin with, so that no other ledger has the same.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._open: dict[str, tuple[str, float]] = {}
        self.ends: dict[str, tuple[str, str]] = {}
        self.longest_s = 0.0

    @contextlib.contextmanager
    def request(self, kind: str) -> Iterator[tuple[str, list[str]]]:
        """A new id, and where its one end is to be put. What is raised is an end too."""
        request_id, ends = f"{self._name}-{kind}-{next(self._numbers)}", list[str]()
        with self._lock:
            self._open[request_id] = (kind, time.monotonic())
        try:
            yield request_id, ends
        except Exception as error:
            ends.append(f"{type(error).__name__}: {error}")
        with self._lock:
            _, started = self._open.pop(request_id)
            self.longest_s = max(self.longest_s, time.monotonic() - started)
            self.ends[request_id] = (kind, ", ".join(ends))

    def open_ids(self) -> list[str]:
        with self._lock:
            return list(self._open)

    def counts(self) -> Counter[tuple[str, str]]:
        """How often each kind of client came to each end."""
        return Counter(self.ends.values())


@dataclass
class Crowd:
    """The clients of one server."""

    server: Server
    ledger: Ledger
    seed: int
    stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """They ask during the body; at its end the last requests are waited for."""
        self.stop.clear()
        kinds = [_plain, _plain, _plain, _streamed, _streamed, _sdk, _sdk, _leaving]
        with ThreadPoolExecutor(len(kinds)) as pool:
            threads = [pool.submit(self._go_on, kind, n) for n, kind in enumerate(kinds)]
            try:
                yield
            finally:
                self.stop.set()
            for thread in threads:
                thread.result(2 * BOUND_S)

    def _go_on(self, kind: Kind, n: int) -> None:
        chance = random.Random(f"{self.seed} {n}")
        with kind(self.server) as ask:
            while not self.stop.is_set():
                with self.ledger.request(kind.__name__.strip("_")) as (request_id, ends):
                    ends.append(ask(chance, request_id))
                if ends[-1] != "ok":
                    # Refused or failed: a client that came back at once would only make noise.
                    self.stop.wait(0.1)


@contextlib.contextmanager
def _plain(server: Server) -> Iterator[Ask]:
    with server.client() as client:
        client.timeout = httpx.Timeout(BOUND_S)

        def ask(chance: random.Random, request_id: str) -> str:
            if chance.random() < 0.1:
                return _big(client, request_id).code
            task, body = _anything(chance)
            return plain_end(client, task, request_id=request_id, **body).code

        yield ask


@contextlib.contextmanager
def _streamed(server: Server) -> Iterator[Ask]:
    with server.client() as client:
        client.timeout = httpx.Timeout(BOUND_S)

        def ask(chance: random.Random, request_id: str) -> str:
            task, body = _anything(chance)
            return streamed_end(client, task, request_id=request_id, **body).code

        yield ask


@contextlib.contextmanager
def _sdk(server: Server) -> Iterator[Ask]:
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key=API_KEY, max_retries=0, timeout=BOUND_S
    ) as sdk:

        def ask(chance: random.Random, request_id: str) -> str:
            try:
                answer = sdk.images.generate(
                    model=PICTURES,
                    prompt="a red circle on a blue background",
                    size=chance.choice(["64x64", "64x128", "128x128"]),  # type: ignore[call-overload]  # ours, not OpenAI's
                    extra_headers={"X-Request-ID": request_id},
                    extra_body={"steps": chance.randint(1, 4)},
                )
            except openai.APIStatusError as error:
                return str(error.code)
            assert answer.data[0].b64_json
            return "ok"

        yield ask


@contextlib.contextmanager
def _leaving(server: Server) -> Iterator[Ask]:
    """Leaves while it waits for an answer, or after the first events; some answers are faster."""
    with server.client() as client:

        def ask(chance: random.Random, request_id: str) -> str:
            task, body = _anything(chance)
            if chance.random() < 0.5:
                return _left_stream(client, task, body, request_id)
            try:
                patience = httpx.Timeout(BOUND_S, read=chance.uniform(0.01, 0.3))
                headers = {"X-Request-ID": request_id}
                answer = client.post(
                    f"/v1/tasks/{task}", json=body, headers=headers, timeout=patience
                )
            except httpx.ReadTimeout:
                return LEFT
            return end_of(answer).code

        yield ask


def _left_stream(client: httpx.Client, task: str, body: dict[str, Any], request_id: str) -> str:
    headers = EVENTS | {"X-Request-ID": request_id}
    with client.stream("POST", f"/v1/tasks/{task}", headers=headers, json=body) as answer:
        if answer.status_code != 200:
            answer.read()
            return end_of(answer).code
        next(answer.iter_lines())
    return LEFT


def _big(client: httpx.Client, request_id: str) -> End:
    answer = client.post(
        "/v1/tasks/repeat-bytes",
        files={"data": SPOOLED},
        data={"model": MODELS[0]},
        headers={"X-Request-ID": request_id, "Accept": "application/octet-stream"},
    )
    if answer.status_code == 200:
        assert answer.content == SPOOLED
    return end_of(answer)


def _anything(chance: random.Random) -> tuple[str, dict[str, Any]]:
    """A task and its body: small and large, short and long, with and without a time limit."""
    model = chance.choice(MODELS)
    limit = {"timeout_s": chance.uniform(0.05, 1.0)} if chance.random() < 0.1 else {}
    # Few of the others: they wait for as long as anything interactive does.
    priority = {"priority": chance.choices(["interactive", "job", "batch"], [8, 1, 1])[0]}
    task, body = chance.choice(
        [
            ("echo", {"model": model, "reserve_bytes": chance.randint(0, 100) * MIB}),
            ("steps", {"model": model, "steps": chance.randint(1, 30), "step_s": 0.01}),
            (
                "text-to-image",
                {
                    "model": PICTURES,
                    "prompt": "a red circle",
                    "width": 64,
                    "height": 64,
                    "steps": chance.randint(1, 4),
                    "n": chance.randint(1, 2),
                },
            ),
        ]
    )
    return task, {**body, **priority, **limit}
