"""The clients of the soak: each draws one picture after another until it is told to stop, and books
what it gets.
"""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import openai

from benchmarks.ledger import Ledger, Request
from benchmarks.raw_http import HEAD_END
from tests.support.server import API_KEY

ROUTE = "/v1/tasks/text-to-image"
EVENTS = "text/event-stream"
PROMPT = "a red circle on a blue background"
SIDE = 192
STEPS = (4, 24)
LEAVE_WITHIN_S = 2.0
REFUSALS = (429, 503)


@dataclass(frozen=True, slots=True)
class Soak:
    """What all clients share. No request may take longer than `patience_s`."""

    url: str
    models: Sequence[str]
    ledger: Ledger
    stop: threading.Event
    patience_s: float

    def body(self, chance: random.Random) -> dict[str, Any]:
        return {
            "model": chance.choice(self.models),
            "prompt": PROMPT,
            "width": SIDE,
            "height": SIDE,
            "steps": chance.randint(*STEPS),
        }

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=self.patience_s)

    def pause(self, headers: httpx.Headers) -> None:
        """Honour Retry-After."""
        if "retry-after" in headers:
            self.stop.wait(float(headers["retry-after"]))


def plain(soak: Soak, chance: random.Random) -> None:
    """JSON and no events."""
    with soak.client() as client:
        while not soak.stop.is_set():
            headers = httpx.Headers()
            with soak.ledger.request("plain") as request:
                answer = client.post(ROUTE, json=soak.body(chance))
                headers = answer.headers
                request.answers.append(label(answer))
            soak.pause(headers)


def streaming(soak: Soak, chance: random.Random) -> None:
    """Server-sent events, which end in one `result` or one `error`."""
    with soak.client() as client:
        while not soak.stop.is_set():
            headers = httpx.Headers()
            with (
                soak.ledger.request("streaming") as request,
                client.stream(
                    "POST", ROUTE, json=soak.body(chance), headers={"Accept": EVENTS}
                ) as answer,
            ):
                headers = answer.headers
                if answer.status_code != httpx.codes.OK:
                    answer.read()
                    request.answers.append(label(answer))
                else:
                    read_events(answer, request)
            soak.pause(headers)


def read_events(answer: httpx.Response, request: Request) -> None:
    """Book each `result` and each `error` of the stream."""
    event = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: ") and event == "result":
            request.answers.append("200")
        elif line.startswith("data: ") and event == "error":
            error = json.loads(line.removeprefix("data: "))["error"]
            request.answers.append(f"{error['status']} {error['code']} in the stream")


def sdk(soak: Soak, chance: random.Random) -> None:
    """OpenAI's own client, without its retries: each try is a request here."""
    with openai.OpenAI(
        api_key=API_KEY, base_url=f"{soak.url}/v1", timeout=soak.patience_s, max_retries=0
    ) as client:
        while not soak.stop.is_set():
            body = soak.body(chance)
            headers = httpx.Headers()
            with soak.ledger.request("openai SDK") as request:
                try:
                    pictures = client.images.generate(
                        model=body["model"],
                        prompt=body["prompt"],
                        size=f"{SIDE}x{SIDE}",
                        extra_body={"steps": body["steps"]},
                    )
                    assert pictures.data
                    assert pictures.data[0].b64_json
                    request.answers.append("200")
                except openai.APIStatusError as error:
                    headers = httpx.Headers(dict(error.response.headers))
                    request.answers.append(label(error.response))
            soak.pause(headers)


def leaver(soak: Soak, chance: random.Random) -> None:
    """Disconnects at a random moment, often before its answer, plain or streaming."""
    url = httpx.URL(soak.url)
    while not soak.stop.is_set():
        with (
            soak.ledger.request("leaver") as request,
            socket.create_connection((url.host, url.port or 80), soak.patience_s) as connection,
        ):
            accept = chance.choice(("application/json", EVENTS))
            connection.sendall(closing_request(soak.body(chance), accept))
            received = read_for(connection, chance.uniform(0.0, LEAVE_WITHIN_S))
            if received is None:
                request.left = True
            else:
                request.answers.append(status_of(received))
        soak.stop.wait(0.05)


def closing_request(body: dict[str, Any], accept: str) -> bytes:
    """A request on a connection that the server closes after its answer."""
    content = json.dumps(body).encode()
    lines = [
        f"POST {ROUTE} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"Authorization: Bearer {API_KEY}",
        f"Accept: {accept}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    ]
    return "\r\n".join(lines).encode() + HEAD_END + content


def read_for(connection: socket.socket, seconds: float) -> bytes | None:
    """A whole answer, or None where it was not there in time."""
    received, end = b"", time.monotonic() + seconds
    while (left_s := end - time.monotonic()) > 0:
        connection.settimeout(left_s)
        try:
            more = connection.recv(65536)
        except TimeoutError:
            return None
        if not more:
            return received
        received += more
    return None


def status_of(received: bytes) -> str:
    """The label of a raw answer. Raises ValueError for what is none."""
    if not received.startswith(b"HTTP/1.1 "):
        raise ValueError(f"the connection ended with {received[:80]!r}")
    return received[9:12].decode()


def label(answer: Any) -> str:
    """Status and error code of an answer; one to be asked again must say when."""
    if answer.status_code == httpx.codes.OK:
        return "200"
    code = answer.json()["error"]["code"]
    if answer.status_code in REFUSALS and "retry-after" not in answer.headers:
        return f"{answer.status_code} {code} WITHOUT Retry-After"
    return f"{answer.status_code} {code}"
