"""`Companions`: the checkpoints that a request needs beside its own, found by name or by facts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel

from onebox.core.companions import Companion
from onebox.core.contracts import Entry, Task
from onebox.core.errors import InvalidInput, ModelBroken, ModelNotFound, TaskNotSupported
from onebox.services.catalogue import Catalogue
from onebox.services.request import require_whole


class Companions:
    """Used from the event loop."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def of(self, task: Task[Any], request: BaseModel, entry: Entry) -> Mapping[str, Entry]:
        """By slot. Raises ModelNotFound, ModelBroken, InvalidInput, TaskNotSupported."""
        found: dict[str, Entry] = {}
        for companion in task.companions(request, entry):
            other = await self._find(companion, found)
            if other is not None:
                task.fits(request, entry, companion.slot, other)
                found[companion.slot] = other
        return found

    async def _find(self, companion: Companion, found: Mapping[str, Entry]) -> Entry | None:
        if companion.name is None:
            return self._any(companion, found)
        try:
            other = await self._named(companion.name, companion.families)
            require_whole(other)
        except (ModelNotFound, ModelBroken) as error:
            # The same, under the field that named it.
            kind = type(error)
            raise kind(error.message, param=companion.param, details=error.details) from None
        if other.family not in companion.families:
            wanted = " or ".join(sorted(companion.families))
            raise InvalidInput(
                f"{other.name} is no {wanted}; it is: {other.kind or other.family or 'unknown'}",
                param=companion.param,
                details={"model": other.name, "families": sorted(companion.families)},
            )
        return other

    async def _named(self, name: str, families: frozenset[str]) -> Entry:
        """As any model is named, or by the name of its file alone: most lie in folders."""
        try:
            return await self._catalogue.named(name)
        except ModelNotFound:
            # A pickle that nobody has used yet may be of any family.
            others = [
                other
                for other in self._catalogue.entries()
                if (other.family in families or other.unconverted) and name in _file_names(other)
            ]
            if len(others) != 1:
                raise
        return await self._catalogue.named(others[0].name)

    def _any(self, companion: Companion, found: Mapping[str, Entry]) -> Entry | None:
        facts = dict(companion.facts)
        for name, slot in companion.alike.items():
            if slot in found and name in found[slot].facts:
                facts[name] = found[slot].facts[name]
        able = [
            other
            for other in self._catalogue.entries()
            if other.family in companion.families
            and other.status != "broken"
            and all(other.facts.get(name) == value for name, value in facts.items())
        ]
        if not able and companion.required:
            raise TaskNotSupported(companion.needs, param=companion.param)
        if able and companion.task is not None:
            return self._catalogue.first_of(able, companion.task, companion.prefers)
        return able[0] if able else None


def _file_names(entry: Entry) -> tuple[str, str]:
    """Without and with extension."""
    name = PurePosixPath(entry.name).name.removesuffix(entry.extension)
    return name, name + entry.extension
