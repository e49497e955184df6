"""Clients that leave an edit at any moment: nothing runs on for them, and no file stays."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from tests.support.asking import Background, events_of, running_requests, running_task, wait_for
from tests.support.editing import (
    EDITS,
    QUICK,
    data_url,
    drawn,
    edit,
    noise,
    photo,
    with_hole,
)
from tests.support.pictures import pixels
from tests.support.server import API_KEY, Server

SIDE = 900
# Larger than what goes to a worker inside of a frame.
LARGE = noise(SIDE)
MASK = with_hole((SIDE, SIDE), (100, 100, 800, 800))
# Would take half a minute and more; on a machine that has less time, more.
ENDLESS = {**QUICK, "steps": 150, "n": 10, "size": "128x128"}
LEFT_WITHIN_S = 20.0


@pytest.fixture
def idle(picture_server: Server, drawing: httpx.Client) -> Iterator[httpx.Client]:
    """To leave: at the end nothing may run, no file may be left, and pictures come out as ever."""
    expected = drawn(edit(drawing, photo()))[0]
    yield drawing
    wait_for(lambda: not running_requests(drawing), LEFT_WITHIN_S)
    wait_for(lambda: not list((picture_server.data_dir / "spool").iterdir()), LEFT_WITHIN_S)
    assert (drawn(edit(drawing, photo()))[0] == expected).all()


def form(**fields: Any) -> tuple[bytes, str]:
    """An edit's body, and its type."""
    given = {name: str(value) for name, value in (ENDLESS | fields).items()}
    request = httpx.Request("POST", "http://x", data=given, files={"image": LARGE, "mask": MASK})
    return request.read(), request.headers["content-type"]


def asked(server: Server, request_id: str, **fields: Any) -> http.client.HTTPConnection:
    """An edit that was sent; its answer is still to be read."""
    body, content_type = form(**fields)
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
    headers = {"Authorization": f"Bearer {API_KEY}", "X-Request-ID": request_id}
    connection.request("POST", EDITS, body, headers | {"Content-Type": content_type})
    return connection


def running(client: httpx.Client, request_id: str) -> dict[str, Any]:
    """The request, once it has taken a step."""

    def found() -> dict[str, Any] | None:
        request = running_requests(client).get(request_id)
        return request if request and request["step"] else None

    request: dict[str, Any] = wait_for(found)
    return request


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
def test_while_it_is_sent(picture_server: Server, idle: httpx.Client, part: float) -> None:
    body, content_type = form()
    place = urlsplit(picture_server.url)
    with socket.create_connection((place.hostname, place.port)) as connection:
        head = (
            f"POST {EDITS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body[: int(len(body) * part)])


@pytest.mark.parametrize("fields", [{}, {"stream": "true", "partial_images": 3}])
def test_in_the_middle_of_a_step(
    picture_server: Server, idle: httpx.Client, fields: dict[str, Any]
) -> None:
    connection = asked(picture_server, "drawn", **fields)
    running(idle, "drawn")
    connection.close()


def test_while_others_are_drawn(picture_server: Server, idle: httpx.Client) -> None:
    first = asked(picture_server, "first")
    running(idle, "first")
    waiting = [asked(picture_server, f"waits-{number}") for number in range(4)]
    wait_for(lambda: len(running_requests(idle)) == 5)
    for connection in waiting[::2]:
        connection.close()
    wait_for(lambda: len(running_requests(idle)) == 3, LEFT_WITHIN_S)
    assert running_requests(idle)["first"]["state"] == "running"
    for connection in (first, *waiting[1::2]):
        connection.close()


def test_once_the_first_partial_picture_was_shown(
    picture_server: Server, idle: httpx.Client
) -> None:
    connection = asked(picture_server, "shown", stream="true", partial_images=1)
    answer = connection.getresponse()
    line = b""
    while not line.startswith(b"event: image_edit.partial_image"):
        line = answer.readline()
    answer.close()
    connection.close()


def test_between_the_last_step_and_the_result(idle: httpx.Client) -> None:
    body = QUICK | {"image": data_url(LARGE), "mask": data_url(MASK), "width": 64, "height": 64}
    with running_task(idle, "inpainting", **body) as request:
        wait_for(lambda: request.steps == 2)


def test_cancelled_by_its_id(
    picture_server: Server, idle: httpx.Client, in_background: Background
) -> None:
    connection = asked(picture_server, "named")
    running(idle, "named")
    answer = idle.post("/v1/requests/named/cancel")
    assert answer.json()["requests"] == 1
    assert connection.getresponse().status == 499
    connection.close()


def test_a_slow_reader_holds_up_nobody_and_gets_it_all(
    picture_server: Server, idle: httpx.Client
) -> None:
    connection = asked(
        picture_server, "slow", n=3, steps=2, size="64x64", stream="true", partial_images=2
    )
    wait_for(lambda: "slow" not in running_requests(idle))
    # It has ended, with megabytes still to be read; others come and go meanwhile.
    assert drawn(edit(idle, photo()))
    lines = (line.decode().rstrip("\n") for line in connection.getresponse())
    events = list(events_of(lines))
    assert [event.name for event in events][-3:] == ["image_edit.completed"] * 3
    assert len(events) == 3 + 3 * 2
    (alone,) = drawn(edit(idle, LARGE, MASK, seed=events[-1].data["seed"], size="64x64"))
    last = pixels(events[-1].data["b64_json"])
    assert np.abs(last.astype(int) - alone.astype(int)).max() <= 2
    connection.close()
