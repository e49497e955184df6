"""Asking for words of `pieces_plugin`, and what is left of that in the worker."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx

from tests.support.asking import (
    Background,
    Event,
    Running,
    ask_and_wait,
    output,
    running_task,
)
from tests.support.server import wait_for

MODEL = "pieces"
# More than any test waits for.
MANY = 5000
FOREVER: dict[str, Any] = {"words": ["long"] * MANY, "piece_s": 0.02}


def spell(client: httpx.Client, model: str, *words: str, **body: Any) -> httpx.Response:
    return client.post("/v1/tasks/spell", json={"model": model, "words": words, **body})


def spelling(client: httpx.Client, model: str, **body: Any) -> Any:
    """A streamed request whose first word was computed. Its client leaves at the end."""
    return running_task(client, "spell", **{"model": model, **FOREVER, **body})


def goes_on(running: Running) -> None:
    """Words of it are computed now."""
    before = running.steps
    wait_for(lambda: running.steps > before)


def open_pieces(client: httpx.Client, model: str) -> dict[str, int]:
    return output(client.post("/v1/tasks/open-pieces", json={"model": model}))


def nothing_is_open(client: httpx.Client, model: str) -> None:
    wait_for(lambda: open_pieces(client, model) == {"open": 0, "threads": 0})


def sent(events: Iterable[Event]) -> bytes:
    """The bytes of all parts."""
    parts = [event.data["data"] for event in events if event.name == "delta"]
    return b"".join(map(base64.b64decode, parts))


def cue(folder: Path, name: str = "cue") -> str:
    """A path that is not there yet."""
    return str(folder / name)


def waiting_for_words(
    in_background: Background,
    client: httpx.Client,
    name: str,
    path: str,
    model: str = MODEL,
    **body: Any,
) -> Future[httpx.Response]:
    """A request that is under way and has no word yet; they come with the cue at `path`."""
    before = open_pieces(client, model)["threads"]
    fields = {"task": "spell", "model": model, "cue": path, "words": ["late"], **body}
    asked = ask_and_wait(in_background, client, name, **fields)
    wait_for(lambda: open_pieces(client, model)["threads"] == before + 1)
    return asked
