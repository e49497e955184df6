"""What an adapter is: it says of one kind of server how a task is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from onebox.core.errors import InvalidInput
from onebox.core.results import Artifact
from onebox.services.upstreams.connection import Connection

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to a task, for a model of another server.

    Attributes:
        name: of the model here; `model` is its name there.
        input: fields of the task's input as plain values, those left out with their defaults.
        given: those of them that are no defaults.
        whole: nobody looks at what comes before the result.
        tell: takes a delta, as the task would send it.
        parameters: the operator's own fields for the body.
    """

    task: str
    name: str
    model: str
    input: Mapping[str, Any]
    given: Mapping[str, Any]
    whole: bool
    tell: Callable[[dict[str, Any]], None]
    parameters: Mapping[str, Any]

    def refuse_all_but(self, *known: str) -> None:
        """Nothing that a client asked for is left out without a word. Raises InvalidInput."""
        for name in self.given:
            if name not in known:
                raise InvalidInput(
                    f"{self.name} runs on another server, which does not know {name}; leave it out",
                    param=name,
                )


class Adapter(Protocol):
    """Of one kind of server. Its tasks are in `core/settings_upstreams.TASKS_OF`."""

    async def run(self, ask: Ask, connection: Connection) -> tuple[Artifact, ...]:
        """What a worker would give. Raises AppError."""


def json_artifact(value: Any, meta: dict[str, Any] | None = None) -> tuple[Artifact, ...]:
    return (Artifact(JSON, msgspec.json.encode(value), None, meta or {}),)


def renamed(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Of the given fields those of `names`, under the names there."""
    return {there: given[here] for here, there in names.items() if here in given}
