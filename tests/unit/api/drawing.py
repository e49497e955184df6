"""An inference service that draws what a test scripts, and requests for pictures."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
from pydantic import BaseModel

from onebox.bootstrap import Services
from onebox.core.contracts import Entry
from onebox.core.plugins import TASKS
from onebox.core.results import Artifact, Timing
from onebox.runtime.wire import Delta, Progress
from onebox.services.request import Options, Outcome, Prepared
from tests.unit.api.asking import ADMIN, Answer, ask
from tests.unit.api.fakes import entry
from tests.unit.api.reading import FILE, PNG
from tests.unit.api.sounds import Part, form
from tests.unit.api.texts import Texts, app_with

GENERATIONS = "/v1/images/generations"
EDITS = "/v1/images/edits"
VARIATIONS = "/v1/images/variations"
SIDE = 256


def preview(picture: int, raw: bytes) -> dict[str, Any]:
    return {"picture": picture, "preview": raw, "media_type": "image/jpeg"}


def picture(seed: int, **meta: Any) -> Artifact:
    facts = {"seed": seed, "width": SIDE, "height": SIDE, **meta}
    return Artifact("image/png", PNG + bytes([seed]), None, facts)


class Drawings(Texts):
    """Draws `n` pictures of 256x256 pixels whose seeds count from 1.

    Args:
        failure: is raised instead, in the run; `refusal` before it.
    """

    def __init__(
        self,
        deltas: Iterable[dict[str, Any]] = (),
        *,
        artifacts: Iterable[Artifact] | None = None,
        failure: Exception | None = None,
        refusal: Exception | None = None,
    ) -> None:
        super().__init__(None, deltas, failure)
        self.refusal = refusal
        self.artifacts = artifacts

    async def prepare(  # type: ignore[override]  # a whole one
        self, task: str, given: BaseModel, *, model: str | None, caller: Any, options: Options
    ) -> Prepared:
        self.task, self.input, self.model, self.options = task, given, model, options
        if self.refusal:
            raise self.refusal
        resolved = given.model_copy(update={"width": SIDE, "height": SIDE})
        shapes: Entry = entry("shapes")
        return Prepared("abc", TASKS[task], shapes, resolved, "caller", options, 0.0)

    async def run(self, prepared: Any) -> Outcome:
        if self.failure:
            raise self.failure
        drawn = self.artifacts or [picture(seed) for seed in range(1, prepared.input.n + 1)]
        return Outcome(prepared, tuple(drawn), Timing(run_s=1.0))

    async def stream(self, prepared: Any) -> AsyncIterator[Any]:
        yield Progress("w", 1, 30)
        for delta in self.deltas:
            # As a worker's frame brings it.
            yield msgspec.msgpack.decode(msgspec.msgpack.encode(Delta("w", delta)), type=Delta)
        yield await self.run(prepared)


def draw(
    services: Services, drawings: Drawings | None = None, **fields: Any
) -> tuple[Answer, Drawings]:
    """Asks for pictures by JSON."""
    return post(services, GENERATIONS, {"prompt": "a red circle", **fields}, drawings)


def edit(
    services: Services, *parts: tuple[str, Part], drawings: Drawings | None = None
) -> tuple[Answer, Drawings]:
    """Asks for a picture of a picture by a form."""
    return post(services, EDITS, [("prompt", "a blue one"), ("image", FILE), *parts], drawings)


def post(
    services: Services,
    path: str,
    given: dict[str, Any] | Iterable[tuple[str, Part]],
    drawings: Drawings | None = None,
) -> tuple[Answer, Drawings]:
    """A dict is sent as JSON, anything else as a form."""
    drawings = drawings or Drawings()
    headers, body = {"content-type": "application/json"}, b""
    if isinstance(given, dict):
        body = json.dumps(given).encode()
    else:
        headers, body = form(given)
    return ask(app_with(services, drawings), "POST", path, {**ADMIN, **headers}, body), drawings


def told(answer: Answer) -> list[tuple[str, dict[str, Any]]]:
    """Name and data of each event of a stream."""
    found = []
    for part in answer.body.decode().split("\n\n"):
        if part and not part.startswith(":"):
            name, data = part.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found
