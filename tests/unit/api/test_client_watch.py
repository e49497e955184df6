"""Whatever a POST does ends when its client leaves."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
from collections.abc import Generator
from typing import Any

import pytest

from onebox.api.app import create_app
from onebox.api.client_watch import ClientWatch
from onebox.core.errors import Cancelled
from tests.unit.api.asking import ADMIN, api_routes, ask, in_loop
from tests.unit.api.sounds import FILE, Part, form
from tests.unit.api.test_compat_tryon import ASKED as TRY_ON

PICTURE = {"prompt": "x", "model": "m"}
# A list is a form.
SOUND: list[tuple[str, Part]] = [("file", FILE)]
EDIT: list[tuple[str, Part]] = [("image", FILE), ("prompt", "x")]
BODIES: dict[str, dict[str, Any] | list[tuple[str, Part]] | None] = {
    "/v1/infer": {"id": "1", "model_id": "m", "prompt": "x"},
    "/infer": {"id": "1", "model_id": "m", "prompt": "x"},
    "/v1/images/generations": PICTURE,
    "/v1/images/edits": EDIT,
    "/v1/images/variations": EDIT,
    "/v1/images/backgrounds": EDIT,
    "/v1/images/cutouts": [("image", FILE)],
    "/v1/images/try-on": [("person", FILE), ("garment", FILE)],
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "x"}]},
    "/v1/completions": {"model": "m", "prompt": "x"},
    "/v1/embeddings": {"input": "x"},
    "/v1/rerank": {"query": "x", "documents": ["x"]},
    "/v2/rerank": {"query": "x", "documents": ["x"]},
    "/v1/similarity": {"source": "x", "sentences": ["x"]},
    "/v1/audio/speech": {"input": "x", "voice": "alloy"},
    "/v1/generate": {"prompt": "x"},
    "/v1/responses": {"model": "m", "input": "x"},
    "/v1/responses/input_tokens": {"model": "m", "input": "x"},
    "/v1/responses/{response_id}/cancel": None,
    "/v1/files": [("file", FILE), ("purpose", "batch")],
    "/v1/batches": {
        "input_file_id": "file_1",
        "endpoint": "/v1/embeddings",
        "completion_window": "24h",
    },
    "/v1/batches/{batch_id}/cancel": None,
    "/v1/audio/transcriptions": SOUND,
    "/v1/audio/translations": SOUND,
    "/v1/tokenize": {"text": "x"},
    "/v1/detokenize": {"tokens": [1]},
    "/v1/tasks/text-to-image": PICTURE,
    "/v1/jobs": {"task": "text-to-image", "input": {"prompt": "x"}},
    "/v1/jobs/{job_id}/cancel": None,
    "/v1/videos": PICTURE,
    "/v1/videos/generations": PICTURE,
    "/v1/videos/{video_id}/remix": {"prompt": "x"},
    "/v1/keys/{key_id:path}/credits": {"add": 1},
    "/v1/keys": {"name": "x"},
    "/v1/keys/{key_id}": {"name": "x"},
    "/v1/keys/{key_id}/rotate": None,
    "/v1/models/rescan": None,
    "/v1/models/{model:path}/load": None,
    "/v1/models/{model:path}/unload": None,
}
# Of the familiar routes of other servers.
FAMILIAR: dict[str, dict[str, Any] | list[tuple[str, Part]] | None] = {
    "/api/image": PICTURE,
    "/api/edit-image": EDIT,
    "/api/llm": {"messages": [{"role": "user", "content": "x"}]},
    "/api/tts": {"text": "x"},
    "/api/stt": [("audio", FILE)],
    "/api/embedding": {"text": "x"},
    "/api/video/text-to-video": PICTURE,
    "/api/video/image-to-video": EDIT,
    "/generate": [("product_file", FILE)],
    "/local/generate": {"prompt": "x"},
    "/api/v1/create-image": TRY_ON,
}
# Done at once, with nothing to wait for.
AT_ONCE = {"/v1/requests/{request_id:path}/cancel"}


class Stuck:
    """Anything, and whoever awaits it waits for ever."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.cancelled = 0

    def __getattr__(self, name: str) -> Stuck:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Stuck:
        return self

    def __await__(self) -> Generator[Any, None, None]:
        self.entered.set()
        try:
            yield from asyncio.Future().__await__()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def stuck_app(services, stuck):
    names = ("inference", "catalogue", "residency", "models", "registry", "responses")
    names += ("uploads", "jobs", "batches", "usage")
    # It lets in as before.
    access = copy.copy(services.access)
    access.keys = stuck
    return create_app(dataclasses.replace(services, access=access, **dict.fromkeys(names, stuck)))


def test_these_are_all_posts(familiar):
    app = create_app(familiar)
    posts = {path for method, path in api_routes(app) if method == "POST"}
    # The routes of tasks are all made by one function; other tests add tasks to the table.
    plugins = {path for path in posts - set(BODIES) if path.startswith("/v1/tasks/")}
    assert posts - plugins == {*BODIES, *FAMILIAR, *AT_ONCE}


@pytest.mark.parametrize("path", [*BODIES, *FAMILIAR])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_post_stops_when_its_client_leaves(services, familiar, path, in_chunks):
    stuck = Stuck()
    if path in FAMILIAR:
        services = familiar
    given = {**BODIES, **FAMILIAR}[path]
    if isinstance(given, list):
        headers, body = form(given)
    else:
        headers, body = {}, b"" if given is None else json.dumps(given).encode()
    target = path.replace("{model:path}", "m")
    parts = [body[:5], body[5:]] if in_chunks else body
    headers = {**ADMIN, **headers}
    answer = ask(stuck_app(services, stuck), "POST", target, headers, parts, leaves=stuck.entered)
    assert stuck.cancelled == 1
    assert answer.status == 499
    if path in BODIES:
        assert answer.error["code"] == "cancelled"


def test_a_body_that_nobody_reads_does_not_hide_that_the_client_left(services):
    stuck = Stuck()
    app = stuck_app(services, stuck)
    parts = [b"not", b"read"]
    answer = ask(app, "POST", "/v1/models/rescan", ADMIN, parts, leaves=stuck.entered)
    assert (stuck.cancelled, answer.status) == (1, 499)


class Client:
    """Sends its messages, then leaves when told to."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = list(messages)
        self.leaves = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self.messages:
            return self.messages.pop(0)
        await self.leaves.wait()
        return {"type": "http.disconnect"}


def part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def read(watch: ClientWatch) -> bytes:
    body, more = b"", True
    while more:
        message = await watch.receive()
        body, more = body + message["body"], message["more_body"]
    return body


@in_loop
async def test_the_body_is_given_whole():
    client = Client(part(b"a", more=True), part(b"b", more=True), part(b"c", more=False))
    with ClientWatch(client.receive) as watch:
        await watch.open_body()
        assert await read(watch) == b"abc"


@in_loop
async def test_a_client_that_leaves_within_its_body():
    client = Client(part(b"a", more=True))
    client.leaves.set()

    async def work() -> None:
        with ClientWatch(client.receive) as watch:
            await watch.open_body()
            await read(watch)

    with pytest.raises(Cancelled):
        await work()


@in_loop
async def test_a_cancel_of_somebody_else_goes_on():
    client = Client(part(b"", more=False))

    async def work() -> None:
        with ClientWatch(client.receive) as watch:
            await watch.open_body()
            client.leaves.set()
            await asyncio.sleep(0)
            await asyncio.Future()

    task = asyncio.ensure_future(work())
    while not client.leaves.is_set():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@in_loop
async def test_afterwards_the_task_is_as_before_and_the_watch_is_gone():
    client = Client(part(b"", more=False))
    task = asyncio.current_task()
    assert task is not None

    async def work() -> None:
        with ClientWatch(client.receive) as watch:
            await watch.open_body()
            client.leaves.set()
            await asyncio.Future()

    with pytest.raises(Cancelled):
        await work()
    assert task.cancelling() == 0
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {task}


@in_loop
async def test_a_client_that_stays_leaves_no_watch_behind():
    client = Client(part(b"", more=False))
    with ClientWatch(client.receive) as watch:
        await watch.open_body()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not watch.left
    assert asyncio.all_tasks() == {asyncio.current_task()}
