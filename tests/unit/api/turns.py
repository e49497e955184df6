"""What the tests of `/v1/responses` share: a scripted chat task, and ways to ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from types import SimpleNamespace
from typing import Any

from onebox.runtime.wire import Started
from onebox.services.request import Prepared
from tests.unit.api.asking import ADMIN, USER, Answer, ask
from tests.unit.api.fakes import entry
from tests.unit.api.texts import Texts, app_with

PATH = "/v1/responses"
CALL = {"id": "call_1", "name": "weather", "arguments": '{"city":"Ulm"}'}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
ANOTHER = ADMIN
STOP = {"index": 0, "finish_reason": "stop"}
HELLO = [{"index": 0, "content": "Hel"}, {"index": 0, "content": "lo"}, STOP]
PNG = "data:image/png;base64,iVBORw0KGgo="


class Turns(Texts):
    """Notes the input of every try.

    Args:
        failures: what the first tries end in, one after the other.
        is_stuck: a stream comes to its end only when it is cancelled; `entered` when it waits.
    """

    def __init__(
        self, *, failures: Iterable[Exception] = (), is_stuck: bool = False, **given: Any
    ) -> None:
        super().__init__(**given)
        self.failures = list(failures)
        self.is_stuck = is_stuck
        self.entered = asyncio.Event()
        self.inputs: list[Any] = []

    async def prepare(self, task: str, given: Any, **facts: Any) -> Any:
        await super().prepare(task, given, **facts)
        self.inputs.append(given)
        named = SimpleNamespace(name=task)
        options, caller = facts["options"], facts["caller"].id
        return Prepared("abc123", named, entry("smol"), given, caller, options, 1e12)  # type: ignore[arg-type]

    async def run(self, prepared: Any) -> Any:
        self._fail()
        if self.is_stuck:
            await self._stay()
        return await super().run(prepared)

    async def stream(self, prepared: Any) -> AsyncIterator[Any]:
        self._fail()
        self.options = prepared.options
        yield Started("w")
        if self.is_stuck:
            await self._stay()
        async for item in super().stream(prepared):
            yield item

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    async def _stay(self) -> None:
        # What was told before gets time to be sent.
        for _ in range(20):
            await asyncio.sleep(0)
        self.entered.set()
        await asyncio.Event().wait()

    def shown(self) -> list[tuple[str, Any]]:
        """What the model was shown at last: roles and contents."""
        return [(message.role, message.content) for message in self.inputs[-1].messages]


def send(
    services: Any,
    body: dict[str, Any],
    turns: Turns | None = None,
    *,
    headers: dict[str, str] = USER,
    leaves: asyncio.Event | None = None,
) -> Answer:
    app = app_with(services, turns or Turns())
    sent = json.dumps({"model": "m", "input": "Hi", **body}).encode()
    return ask(app, "POST", PATH, headers, sent, leaves=leaves)


def fetch(
    services: Any, method: str, target: str, *, headers: dict[str, str] = USER, turns: Any = None
) -> Answer:
    return ask(app_with(services, turns or Turns()), method, f"{PATH}/{target}", headers)


def made(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    found: dict[str, Any] = json.loads(answer.body)
    return found


def typed_events(answer: Answer) -> list[dict[str, Any]]:
    """The events of a stream; each is named as its data says."""
    found = []
    for part in answer.body.decode().split("\n\n"):
        if part and not part.startswith(":"):
            name, data = part.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {found[-1].get('type', 'error')}"
    return found
