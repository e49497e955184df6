"""What the registry publishes, made from what scanning and hashing found. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from onebox.core.contracts import Entry, EntryStatus
from onebox.registry.names import NameIndex, NameRules
from onebox.registry.recognition import Recognition
from onebox.registry.scanner import Candidate

TasksOf = Callable[[str], tuple[str, ...]]

# What changes the loaded weights; a new value makes a new key, so that the old bundle goes.
_LOADING = ("dtype", "quantization", "loras", "components")


@dataclass(frozen=True, slots=True)
class Record:
    """All that is known about one checkpoint at one path.

    Attributes:
        order: rank of first sight; of equal contents the one known longest stays the main one.
        settings_problem: what is wrong with its `onebox.toml`.
        hash_failure: why it could not be hashed.
        retry_at: clock time from which a failed hashing is tried again.
    """

    candidate: Candidate
    recognition: Recognition
    order: int
    key: str
    overrides: dict[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    settings_problem: str | None = None
    hash_failure: str | None = None
    retry_at: float | None = None

    @property
    def reason(self) -> str | None:
        return (
            self.candidate.problem
            or self.recognition.reason
            or self.settings_problem
            or self.hash_failure
        )

    @property
    def status(self) -> EntryStatus:
        if self.reason is not None:
            return "broken"
        return "ready" if self.sha256 else "hashing"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state of the registry, published whole and never changed."""

    entries: tuple[Entry, ...]
    by_path: Mapping[str, Entry]
    names: NameIndex
    keys: frozenset[str]


def build_snapshot(records: Iterable[Record], rules: NameRules, tasks_of: TasksOf) -> Snapshot:
    """Records → entries: equal contents become one entry, and names are made to differ."""
    ordered = sorted(records, key=lambda record: record.order)
    stems = Counter(_stem(record.candidate) for record in ordered)
    tasks: dict[str, tuple[str, ...]] = {}
    groups: dict[str, list[Record]] = {}
    for record in ordered:
        # Broken ones never merge: each has its own reason.
        merges = record.sha256 is not None and record.status == "ready"
        groups.setdefault(
            record.sha256 if merges and record.sha256 else record.candidate.path, []
        ).append(record)
        family = record.recognition.family
        if family is not None and family not in tasks:
            tasks[family] = tasks_of(family)
    by_path: dict[str, Entry] = {}
    named: list[tuple[str, Entry]] = []
    entries: list[Entry] = []
    for group in groups.values():
        entry = _entry(group, stems, tasks)
        entries.append(entry)
        by_path.update((record.candidate.path, entry) for record in group)
        named.extend((record.candidate.name, entry) for record in group)
    entries.sort(key=lambda entry: (entry.name, entry.path))
    keys = frozenset(entry.key for entry in entries)
    return Snapshot(tuple(entries), by_path, NameIndex(named, rules), keys)


def key_of(candidate: Candidate, overrides: Mapping[str, Any]) -> str:
    """Same path, same files, same loading overrides → same key, also after a restart."""
    loading = {name: overrides[name] for name in _LOADING if name in overrides}
    parts = (candidate.path, candidate.files, sorted(loading.items()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _entry(
    group: list[Record], stems: Mapping[str, int], tasks: Mapping[str, tuple[str, ...]]
) -> Entry:
    record, *others = group
    candidate, found = record.candidate, record.recognition
    stem = _stem(candidate)
    usable = record.status != "broken"
    aliases = [alias for each in group for alias in each.overrides.get("aliases", ())]
    return Entry(
        key=record.key,
        name=stem if stems[stem] == 1 else candidate.name,
        path=candidate.path,
        extension=candidate.extension,
        size_bytes=candidate.size_bytes,
        status=record.status,
        sha256=record.sha256,
        family=found.family,
        kind=found.kind,
        tasks=tasks.get(found.family or "", ()) if usable else (),
        facts=found.facts,
        overrides=record.overrides,
        aliases=tuple(dict.fromkeys(aliases)),
        reason=record.reason,
        created=int(max((file.mtime_ns for file in candidate.files), default=0) / 1e9),
        other_paths=tuple(other.candidate.path for other in others),
    )


def _stem(candidate: Candidate) -> str:
    return candidate.name[: -len(candidate.extension)] if candidate.extension else candidate.name
