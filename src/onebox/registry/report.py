"""One log line per checkpoint that appeared, changed, went or broke; many are summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from typing import NamedTuple

import structlog

from onebox.core.contracts import Entry
from onebox.registry.snapshot import Snapshot

_log = structlog.get_logger(__name__)
_MAX_LINES = 20


class Event(NamedTuple):
    what: str
    entry: Entry
    path: str


def report(before: Snapshot, after: Snapshot, being_written: Container[str] = ()) -> None:
    found = list(events(before, after, being_written))
    for event in found[:_MAX_LINES]:
        _log_event(event)
    for name in sorted(after.hidden - before.hidden):
        _log.warning("a checkpoint hides the remote model of its name", name=name)
    if len(found) > _MAX_LINES:
        _log.info("and more checkpoints", **Counter(event.what for event in found[_MAX_LINES:]))


def events(
    before: Snapshot, after: Snapshot, being_written: Container[str] = ()
) -> Iterator[Event]:
    """What differs between two snapshots, path by path. A hash that became known is no event."""
    for path in before.by_path.keys() - after.by_path.keys():
        what = "being written" if path in being_written else "removed"
        yield Event(what, before.by_path[path], path)
    for path, entry in after.by_path.items():
        old = before.by_path.get(path)
        happened = _what_happened(old, entry) if old is not entry else None
        if happened is not None:
            yield Event(happened, entry, path)


def _what_happened(old: Entry | None, entry: Entry) -> str | None:
    if entry.status == "broken" and (old is None or old.reason != entry.reason):
        return "broken"
    if old is None:
        return "appeared"
    mended = old.status == "broken" and entry.status != "broken"
    # A path that merged into another's entry did not change by that.
    return "changed" if mended or (old.path == entry.path and old.key != entry.key) else None


def _log_event(event: Event) -> None:
    entry = event.entry
    if event.what == "broken":
        _log.warning("checkpoint broken", name=entry.name, path=event.path, reason=entry.reason)
    else:
        _log.info(f"checkpoint {event.what}", name=entry.name, path=event.path, family=entry.family)
