"""What an entry depends on beside its own files, and what may be on its way to it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import msgspec

from onebox.core.contracts import Entry
from onebox.core.errors import AppError, ModelBusy, ModelNotFound
from onebox.registry.components import is_source, lacks_parts
from onebox.registry.plan import Waiting
from onebox.registry.snapshot import Record


def paths_of(entry: Entry, records: Mapping[str, Record]) -> list[str]:
    """Where it lies, and what it takes components from."""
    used = entry.components and [
        path
        for path, record in records.items()
        if is_source((record.conversion or record.candidate).path, entry)
    ]
    return [entry.path, *used]


def moves(path: str, current: Entry | None, waiting: Collection[str]) -> bool:
    """Whether what lies there, or what it lacks, may be on its way."""
    lacks = current is not None and lacks_parts(current)
    return path in waiting or (lacks and bool(waiting))


def being_written(name: str, settle_s: float) -> ModelBusy:
    return ModelBusy(
        f"{name!r} is being written; try again when it is complete",
        param="model",
        retry_after_s=2 * settle_s,
        should_retry=True,
    )


def not_there(
    error: ModelNotFound, name: str, waiting: Mapping[str, Waiting], settle_s: float
) -> AppError:
    """Why a request's `model` has no entry: its file or folder may be on its way."""
    found = (moving.candidate for moving in waiting.values())
    if any(name in (item.name, item.name.removesuffix(item.extension)) for item in found):
        return being_written(name, settle_s)
    return error


def broken(record: Record, entry: Entry, reason: str) -> Record:
    """The record after using the entry showed that it, or one of its components, is broken."""
    if entry.components:
        return dataclasses.replace(record, failure=(entry.key, reason))
    recognition = msgspec.structs.replace(record.recognition, reason=reason)
    return dataclasses.replace(record, recognition=recognition)
