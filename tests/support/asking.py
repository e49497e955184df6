"""Asking a server under test: requests that hold the device, that wait, that nobody waits for."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from tests.support.server import API_KEY, Server, wait_for

Background = Callable[..., "Future[Any]"]

EVENTS = {"Accept": "text/event-stream"}
FOREVER = 100_000


class Event(NamedTuple):
    name: str
    data: dict[str, Any]


def events_of(lines: Iterable[str]) -> Iterator[Event]:
    """The server-sent events in the lines of an answer; comments are left out."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield Event(name, json.loads(line.removeprefix("data: ")))


class Running:
    """A streamed request to a task. A thread of its own reads its events as they come."""

    def __init__(
        self, client: httpx.Client, task: str, headers: dict[str, str], body: dict[str, Any]
    ) -> None:
        self.events: list[Event] = []
        self._left = False
        arguments = (client, f"/v1/tasks/{task}", headers, body)
        self._thread = threading.Thread(target=self._read, args=arguments)
        self._thread.start()

    @property
    def steps(self) -> int:
        """How many steps it has told of."""
        return sum(event.name == "progress" for event in list(self.events))

    def end(self) -> Event:
        """Its last event, once it has ended."""
        wait_for(lambda: not self._thread.is_alive())
        return self.events[-1]

    def leave(self) -> None:
        """Close the connection, which ends the request."""
        self._left = True
        self._thread.join()

    def _read(
        self, client: httpx.Client, path: str, headers: dict[str, str], body: dict[str, Any]
    ) -> None:
        with client.stream("POST", path, headers=headers, json=body) as stream:
            for event in events_of(stream.iter_lines()):
                self.events.append(event)
                if self._left:
                    return


@contextlib.contextmanager
def running_task(
    client: httpx.Client, task: str, *, request_id: str | None = None, **body: Any
) -> Iterator[Running]:
    """A streamed request that has taken its first step. Its client leaves at the end."""
    headers = EVENTS | ({"X-Request-ID": request_id} if request_id else {})
    running = Running(client, task, headers, body)
    try:
        wait_for(lambda: running.steps)
        yield running
    finally:
        running.leave()


def holding(
    client: httpx.Client, model: str, **body: Any
) -> contextlib.AbstractContextManager[Running]:
    """A request of task `steps` that has the device, and gives it away between steps only."""
    return running_task(
        client, "steps", **{"model": model, "steps": FOREVER, "step_s": 0.02, **body}
    )


@contextlib.contextmanager
def nobody_waits(
    server: Server, task: str, request_id: str, *, streaming: bool = False, **body: Any
) -> Iterator[None]:
    """A POST whose answer is never read; the connection is closed at the end of the body."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
    headers = {"Authorization": f"Bearer {API_KEY}", "X-Request-ID": request_id}
    headers |= EVENTS if streaming else {}
    connection.request("POST", f"/v1/tasks/{task}", json.dumps(body), headers)
    try:
        yield
    finally:
        connection.close()


def running_requests(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """What the status tells of the caller's requests, by their ids."""
    told = client.get("/v1/status").json()["running"]["requests"]
    return {request["id"]: request for request in told}


def wait_for_state(client: httpx.Client, request_id: str, state: str) -> dict[str, Any]:
    """The request as the status tells of it, once it is in that state."""

    def found() -> dict[str, Any] | None:
        request = running_requests(client).get(request_id)
        return request if request and request["state"] == state else None

    answer: dict[str, Any] = wait_for(found)
    return answer


def ask_and_wait(
    in_background: Background,
    client: httpx.Client,
    request_id: str,
    *,
    task: str = "echo",
    state: str = "queued",
    **body: Any,
) -> Future[httpx.Response]:
    """Ask a task in the background, and return once the request waits for the device."""
    asked = in_background(
        client.post, f"/v1/tasks/{task}", json=body, headers={"X-Request-ID": request_id}
    )
    wait_for_state(client, request_id, state)
    return asked


def output(answer: httpx.Response) -> dict[str, Any]:
    """The JSON that a task of the plugin gave."""
    assert answer.status_code == 200, answer.text
    value: dict[str, Any] = answer.json()["outputs"][0]["json"]
    return value


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def load(client: httpx.Client, model: str, **options: Any) -> httpx.Response:
    return client.post(f"/v1/models/{model}/load", **options)


def unload(client: httpx.Client, model: str, **options: Any) -> httpx.Response:
    return client.post(f"/v1/models/{model}/unload", **options)


def device_state(client: httpx.Client) -> dict[str, Any]:
    """What the status tells of the only device."""
    (only,) = client.get("/v1/status").json()["devices"]
    return dict(only)
