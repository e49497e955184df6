"""What the registry publishes, made from what scanning and hashing found. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from onebox.core.contracts import Entry, EntryStatus
from onebox.registry.components import TasksOf, completed, sources_of
from onebox.registry.names import NameIndex, NameRules
from onebox.registry.recognition import Recognition
from onebox.registry.scanner import Candidate

# What changes the loaded weights; a new value makes a new key, so that the old bundle goes.
_LOADING = ("dtype", "quantization", "memory", "compile", "components")


@dataclass(frozen=True, slots=True)
class Record:
    """All that is known about one checkpoint at one path.

    Attributes:
        order: rank of first sight; of equal contents the one known longest stays the main one.
        settings_problem: what is wrong with its `onebox.toml`.
        hash_failure: why it could not be hashed.
        retry_at: clock time from which a failed hashing is tried again.
        pickled: it has weights that must be converted before they are used.
        conversion: what was made of them, in the data folder; what it is comes from there then.
        failure: key of the entry that could not be loaded with its present components, and why.
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
    pickled: bool = False
    conversion: Candidate | None = None
    failure: tuple[str, str] | None = None

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
    """One state of the registry, published whole and never changed.

    `hidden` are names of remote models that a checkpoint has, too.
    """

    entries: tuple[Entry, ...]
    by_path: Mapping[str, Entry]
    names: NameIndex
    keys: frozenset[str]
    hidden: frozenset[str] = frozenset()


def build_snapshot(records: Iterable[Record], rules: NameRules, tasks_of: TasksOf) -> Snapshot:
    """Records → entries: equal contents become one entry, and names are made to differ."""
    ordered = sorted(records, key=lambda record: record.order)
    stems = Counter(_stem(record.candidate) for record in ordered)
    groups: dict[str, list[Record]] = {}
    for record in ordered:
        # Broken ones never merge: each has its own reason.
        merges = record.sha256 is not None and record.status == "ready"
        groups.setdefault(
            record.sha256 if merges and record.sha256 else record.candidate.path, []
        ).append(record)
    by_path: dict[str, Entry] = {}
    named: list[tuple[str, Entry]] = []
    found = [_entry(group, stems, tasks_of) for group in groups.values()]
    sources = sources_of(found)
    entries = [
        _judged(completed(entry, sources, tasks_of), group[0])
        for group, entry in zip(groups.values(), found, strict=True)
    ]
    for group, entry in zip(groups.values(), entries, strict=True):
        by_path.update((record.candidate.path, entry) for record in group)
        named.extend((record.candidate.name, entry) for record in group)
    taken = {name for name, _ in named} | {entry.name for entry in entries} | stems.keys()
    remote = [entry for entry in rules.remote if entry.name not in taken]
    named.extend((entry.name, entry) for entry in remote)
    entries.extend(remote)
    entries.sort(key=lambda entry: (entry.name, entry.path))
    keys = frozenset(entry.key for entry in entries)
    hidden = frozenset(entry.name for entry in rules.remote) & taken
    return Snapshot(tuple(entries), by_path, NameIndex(named, rules), keys, hidden)


def wanted_conversions(records: Iterable[Record]) -> frozenset[str] | None:
    """Ids of the pickles that are there; None while those of some are not known."""
    pickled = [record for record in records if record.pickled]
    if any(record.sha256 is None and record.recognition.reason is None for record in pickled):
        return None
    return frozenset(record.sha256 for record in pickled if record.sha256 is not None)


def key_of(candidate: Candidate, overrides: Mapping[str, Any]) -> str:
    """Same path, same files, same loading overrides → same key, also after a restart."""
    loading = {name: overrides[name] for name in _LOADING if name in overrides}
    parts = (candidate.path, candidate.files, sorted(loading.items()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _entry(group: list[Record], stems: Mapping[str, int], tasks_of: TasksOf) -> Entry:
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
        tasks=tasks_of(found.family, found.tasks) if usable and found.family else (),
        facts=found.facts,
        overrides=record.overrides,
        aliases=tuple(dict.fromkeys(aliases)),
        reason=record.reason,
        created=int(max((file.mtime_ns for file in candidate.files), default=0) / 1e9),
        other_paths=tuple(other.candidate.path for other in others),
        unconverted=usable and record.pickled and record.conversion is None,
        loaded_from=record.conversion.path if record.conversion else None,
    )


def _judged(entry: Entry, record: Record) -> Entry:
    """Broken, if loading it showed that; with other components it is another matter."""
    if record.failure is None or record.failure[0] != entry.key:
        return entry
    return msgspec.structs.replace(entry, status="broken", reason=record.failure[1], tasks=())


def _stem(candidate: Candidate) -> str:
    return candidate.name[: -len(candidate.extension)] if candidate.extension else candidate.name
