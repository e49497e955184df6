"""How requests end for the clients that asked: each exactly once, and in the one error shape."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.asking import EVENTS, Event, events_of
from tests.support.server import wait_for

ERROR_FIELDS = {"message", "type", "param", "code", "status", "details", "request_id"}
READY_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class End:
    """`code` is the error's, or "ok". `retry_after` is the header, which an event has not."""

    status: int
    code: str
    message: str = ""
    retry_after: str | None = None


OK = (200, "ok")


def plain_end(
    client: httpx.Client, task: str, *, request_id: str | None = None, **body: Any
) -> End:
    """Ask for JSON and wait for it."""
    return end_of(client.post(f"/v1/tasks/{task}", json=body, headers=_named(request_id)))


def streamed_end(
    client: httpx.Client,
    task: str,
    *,
    request_id: str | None = None,
    on_event: Callable[[Event], None] | None = None,
    **body: Any,
) -> End:
    """Ask for events and read them to the last, which must be the only end among them."""
    headers = EVENTS | _named(request_id)
    with client.stream("POST", f"/v1/tasks/{task}", headers=headers, json=body) as answer:
        if answer.status_code != 200:
            answer.read()
            return end_of(answer)
        events: list[Event] = []
        for event in events_of(answer.iter_lines()):
            events.append(event)
            if on_event is not None:
                on_event(event)
    names = [event.name for event in events]
    ends = [name for name in names if name in ("result", "error")]
    assert len(ends) == 1, f"not one end: {names}"
    assert ends == names[-1:], f"something came after the end: {names}"
    if ends == ["result"]:
        return End(*OK)
    return _failed(events[-1].data, answer.headers["x-request-id"])


def end_of(answer: httpx.Response) -> End:
    """What an answer says. Checks the shape of an error."""
    if answer.status_code == 200:
        return End(*OK)
    end = _failed(answer.json(), answer.headers["x-request-id"])
    assert end.status == answer.status_code
    return End(end.status, end.code, end.message, answer.headers.get("retry-after"))


@contextlib.contextmanager
def in_background() -> Iterator[Callable[..., Future[Any]]]:
    """Runs what it is given on threads of their own.

    A failed test does not wait for them: the end of its server ends them.
    """
    pool = ThreadPoolExecutor(16)
    try:
        yield pool.submit
    finally:
        pool.shutdown(wait=False)


def wait_until_ready(client: httpx.Client) -> None:
    wait_for(lambda: client.get("/ready").status_code == 200, READY_WITHIN_S)


def unready_reasons(client: httpx.Client) -> str:
    """Why the server is not ready, or nothing."""
    answer = client.get("/ready")
    if answer.status_code == 200:
        return ""
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    return "\n".join(answer.json()["error"]["details"]["reasons"])


def _named(request_id: str | None) -> dict[str, str]:
    return {"X-Request-ID": request_id} if request_id else {}


def _failed(body: dict[str, Any], request_id: str) -> End:
    error = body["error"]
    assert set(error) == ERROR_FIELDS, error
    assert error["request_id"] == request_id
    assert "secret" not in error["message"]
    return End(error["status"], error["code"], error["message"])
