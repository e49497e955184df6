"""From a candidate to a record: recognition, `onebox.toml`, and identity without hashing."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onebox.core.contracts import Family
from onebox.core.errors import ModelBroken
from onebox.registry import pickles
from onebox.registry.converted import ConvertedStore
from onebox.registry.fingerprint import OpenFile, sha256_of_manifest
from onebox.registry.hash_pool import HashJob
from onebox.registry.hash_store import HashStore
from onebox.registry.model_toml import MAX_BYTES, parse_model_toml
from onebox.registry.on_disk import CheckpointOnDisk
from onebox.registry.recognition import Recognition, recognise, recogniser_version, unreadable
from onebox.registry.scanner import Candidate, FileStat
from onebox.registry.snapshot import Record, key_of


class Inspector:
    """Looks into checkpoints and asks the hash store first. Used by one thread at a time.

    Args:
        converted: what was made of pickles; None: they are refused.
    """

    def __init__(
        self,
        store: HashStore,
        families: Mapping[str, Family],
        open_file: OpenFile,
        converted: ConvertedStore | None = None,
    ) -> None:
        self._store = store
        self._converted = converted
        self._families = families
        self._open_file = open_file
        self._order = itertools.count()
        self._version: str | None = None

    def look_into(self, candidate: Candidate, before: Record | None = None) -> Record:
        """Everything but hashing. Never raises for what lies on disk."""
        order = next(self._order) if before is None else before.order
        overrides: dict[str, Any] = {}
        recognition, problem = Recognition(), None
        try:
            overrides = self._overrides(candidate)
        except ModelBroken as error:
            problem = error.message
        except OSError as error:
            recognition = Recognition(reason=f"onebox.toml {unreadable(error)}", passing=True)
        pickled = bool(pickles.targets(_names(candidate), is_folder=candidate.is_folder))
        if candidate.problem is None and recognition.reason is None:
            recognition = self._unconverted(candidate) if pickled else self._recognition(candidate)
        record = Record(
            candidate, recognition, order, key_of(candidate, overrides), overrides,
            settings_problem=problem, pickled=pickled,
        )  # fmt: skip
        return self.identified(record)

    def identified(self, record: Record) -> Record:
        """The record with its SHA-256, if every file's is known; otherwise the record itself."""
        candidate = record.candidate
        hashes = [
            (file, self._store.hash_of(file_path(candidate, file), file))
            for file in candidate.files
        ]
        known = [
            (file.relative, file.size, sha256) for file, sha256 in hashes if sha256 is not None
        ]
        if len(known) < len(hashes):
            return record
        sha256 = sha256_of_manifest(known) if candidate.is_folder else known[0][2]
        found = dataclasses.replace(record, sha256=sha256, hash_failure=None, retry_at=None)
        return self.with_conversion(found)

    def with_conversion(self, record: Record) -> Record:
        """The record with what was made of its pickles, if it was; otherwise the record itself."""
        waits = record.pickled and record.conversion is None and record.status == "ready"
        conversion = self._conversion_of(record) if waits else None
        if conversion is None:
            return record
        recognition = self._recognition(conversion, name=os.path.basename(record.candidate.path))
        return dataclasses.replace(record, conversion=conversion, recognition=recognition)

    def has_lost_conversion(self, record: Record) -> bool:
        """Whether what was made of its pickles is no longer there, or another."""
        return record.conversion is not None and record.conversion != self._conversion_of(record)

    def _conversion_of(self, record: Record) -> Candidate | None:
        if self._converted is None or record.sha256 is None:
            return None
        return self._converted.find(record.sha256, is_folder=record.candidate.is_folder)

    def missing_hashes(self, record: Record) -> list[HashJob]:
        paths = ((file_path(record.candidate, file), file) for file in record.candidate.files)
        return [
            HashJob(file.size, path, file)
            for path, file in paths
            if self._store.hash_of(path, file) is None
        ]

    def carry_over(self, old: Candidate, new: Candidate) -> None:
        """A renamed checkpoint keeps what is known about it."""
        for before, after in zip(old.files, new.files, strict=True):
            sha256 = self._store.hash_of(file_path(old, before), before)
            if sha256 is not None:
                self._store.remember_hash(file_path(new, after), after, sha256)

    def _unconverted(self, candidate: Candidate) -> Recognition:
        """Of a pickle no family is asked: only whether its files are whole."""
        found = self._recognition(candidate, {})
        if found.reason is None and self._converted is None:
            return Recognition(reason=pickles.REFUSED)
        return found

    def _recognition(
        self,
        candidate: Candidate,
        families: Mapping[str, Family] | None = None,
        name: str | None = None,
    ) -> Recognition:
        families = self._families if families is None else families
        signature = self._signature(candidate, families, name)
        known = self._store.recognition_of(candidate.path, signature)
        if known is not None:
            return known
        found = recognise(CheckpointOnDisk(candidate, self._open_file, name=name), families)
        if not found.passing:
            self._store.remember_recognition(candidate.path, signature, found)
        return found

    def _signature(
        self, candidate: Candidate, families: Mapping[str, Family], name: str | None
    ) -> str:
        if self._version is None:
            # Not before the first scan: plugins may still be registering.
            self._version = recogniser_version(self._families)
        parts = (self._version, bool(families), candidate.extension, candidate.signature, name)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _overrides(self, candidate: Candidate) -> dict[str, Any]:
        if candidate.settings is None:
            return {}
        with self._open_file(Path(candidate.directory, candidate.settings.relative)) as file:
            return parse_model_toml(file.read(MAX_BYTES + 1))


def _names(candidate: Candidate) -> frozenset[str]:
    return frozenset(file.relative for file in candidate.files)


def file_path(candidate: Candidate, file: FileStat) -> str:
    return os.path.join(candidate.directory, file.relative)
