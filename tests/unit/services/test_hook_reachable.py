"""Whether the operator's backend is there, in words that say what to look at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from onebox.services.hooks.reachable import reachable
from tests.support.backend import DROPPED, Backend, BlackHole, Reply, closed_port, moved


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend() as made:
        yield made


def problem(url: str, timeout_s: float = 5.0) -> str | None:
    return asyncio.run(reachable(url, timeout_s=timeout_s))


@pytest.mark.parametrize("status", [200, 204, 400, 401, 403, 405, 501])
def test_a_server_that_answers_is_there(backend, status):
    backend.usual = Reply(status)
    assert problem(backend.url()) is None


def test_it_is_asked_for_nothing_and_told_nothing(backend):
    problem(backend.url())
    (asked,) = backend.received
    assert (asked.body, "authorization" in asked.headers) == (b"", False)
    assert "x-onebox-key" not in asked.headers


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(404), "path"),
        (Reply(500), "500"),
        (moved("http://127.0.0.1:1/"), "redirect"),
        (DROPPED, "HTTP"),
    ],
    ids=["404", "500", "moved", "dropped"],
)
def test_what_is_wrong_is_named(backend, reply, words):
    backend.usual = reply
    assert words in (problem(backend.url()) or "")


def test_a_server_that_is_not_there_or_silent():
    assert "connected" in (problem(f"http://127.0.0.1:{closed_port()}/") or "")
    hole = BlackHole()
    assert "within 0.05 s" in (problem(hole.url, 0.05) or "")
    hole.close()
