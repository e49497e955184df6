"""A server whose text tasks answer what a test scripts, and OpenAI's client for it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx2
import msgspec
import openai
from fastapi import FastAPI
from pydantic import BaseModel

from onebox.api.app import create_app
from onebox.bootstrap import Services
from onebox.core.results import Artifact, Timing
from onebox.runtime.wire import Delta, Loading
from onebox.services.request import Options, Outcome
from tests.unit.api.asking import ADMIN, Answer, ask

T = TypeVar("T")
CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]
TOP = {"token": "Hel", "bytes": [72, 101, 108], "logprob": -0.25}
TOKEN = {**TOP, "top": [TOP, {"token": "Yo", "bytes": [89, 111], "logprob": None}]}
USAGE = {
    "prompt_tokens": 9,
    "cached_tokens": 4,
    "completion_tokens": 3,
    "reasoning_tokens": 1,
}


def choice(index: int = 0, **facts: Any) -> dict[str, Any]:
    given = {"content": "Hello", "tool_calls": [], "finish_reason": "stop", "logprobs": None}
    return {"index": index, **given, **facts}


def chat_result(*choices: dict[str, Any]) -> dict[str, Any]:
    return {
        "choices": list(choices) or [choice()],
        "usage": USAGE,
        "fingerprint": "fp_abc",
        "seed": 7,
    }


def completion_result(**facts: Any) -> dict[str, Any]:
    given = {"index": 0, "text": " world", "finish_reason": "length", "logprobs": None, **facts}
    return {**chat_result(), "choices": [given]}


class Texts:
    """In place of the inference service: gives what a test says, by default a short answer, and
    notes what it was asked.
    """

    def __init__(
        self,
        result: dict[str, Any] | None = None,
        deltas: Iterable[dict[str, Any]] = (),
        failure: Exception | None = None,
    ) -> None:
        self.result = result
        self.deltas = list(deltas)
        self.failure = failure
        self.task = ""
        self.input: Any = None
        self.model: str | None = None
        self.options: Options | None = None

    async def prepare(
        self, task: str, given: BaseModel, *, model: str | None, caller: Any, options: Options
    ) -> SimpleNamespace:
        self.task, self.input, self.model, self.options = task, given, model, options
        return SimpleNamespace(id="abc123", entry=SimpleNamespace(name="smol"), input=given)

    async def run(self, prepared: Any) -> Outcome:
        if self.failure:
            raise self.failure
        result = self.result or (completion_result if self.task == "completion" else chat_result)()
        artifact = Artifact("application/json", msgspec.json.encode(result))
        return Outcome(prepared, (artifact,), Timing(run_s=1.5))

    async def stream(self, prepared: Any) -> AsyncIterator[Any]:
        yield Loading("w", 0.5)
        for delta in self.deltas:
            # As a worker's frame brings it.
            yield msgspec.msgpack.decode(msgspec.msgpack.encode(Delta("w", delta)), type=Delta)
        yield await self.run(prepared)


class Relay:
    """To the texts of the moment: an app is made once for many requests, for that takes a while."""

    texts: Texts

    def __getattr__(self, name: str) -> Any:
        return getattr(self.texts, name)


# With the services themselves, whose id would be given to others else.
_apps: dict[int, tuple[Services, FastAPI, Relay]] = {}


def app_with(services: Services, texts: Texts) -> FastAPI:
    if id(services) not in _apps:
        relay = Relay()
        app = create_app(dataclasses.replace(services, inference=relay))
        _apps[id(services)] = services, app, relay
    _, app, relay = _apps[id(services)]
    relay.texts = texts
    return app


def post(
    services: Services, path: str, body: dict[str, Any] | bytes, texts: Texts | None = None
) -> tuple[Answer, Texts]:
    texts = texts or Texts()
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(app_with(services, texts), "POST", path, ADMIN, sent), texts


def chat(
    services: Services, body: dict[str, Any], texts: Texts | None = None
) -> tuple[Answer, Texts]:
    return post(services, CHAT, {"messages": HI, **body}, texts)


def events(answer: Answer) -> list[Any]:
    """The data of a stream's events, which must be plain ones; pings are left out."""
    found = []
    for part in answer.body.decode().split("\n\n"):
        if part and not part.startswith(":"):
            assert part.startswith("data: ")
            text = part.removeprefix("data: ")
            found.append(text if text == "[DONE]" else json.loads(text))
    return found


def with_sdk(
    services: Services, texts: Texts, use: Callable[[openai.AsyncOpenAI], Awaitable[T]]
) -> T:
    """What comes of a use of OpenAI's client."""

    async def run() -> T:
        transport = httpx2.ASGITransport(app_with(services, texts))
        http = httpx2.AsyncClient(transport=transport)
        client = openai.AsyncOpenAI(
            base_url="http://testserver/v1", api_key="user-key", max_retries=0, http_client=http
        )
        async with client:
            return await use(client)

    return asyncio.run(run())
