"""Which checkpoint a request's `model` means. Pure: an index over one snapshot of the registry.

Order: full id, exact name, name without extension, alias from settings, alias from an
`onebox.toml`, unique prefix of an id, and last the aliases that stand for a task's default. So a
real name always wins.
"""

from __future__ import annotations

import bisect
import contextlib
import difflib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from onebox.core.contracts import Entry
from onebox.core.errors import InvalidInput, ModelNotFound

MIN_PREFIX = 8
_HEX = re.compile(r"[0-9a-f]{8,64}")
_SHOWN = 5
_SHOWN_CANDIDATES = 20
_MAX_COMPARED_LENGTH = 120
_LIKENESS = 0.5


@dataclass(frozen=True, slots=True)
class NameRules:
    """The settings that give names: alias → name, alias → task, task → name; and the models that
    run on other servers.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    task_aliases: Mapping[str, str] = field(default_factory=dict)
    default_models: Mapping[str, str] = field(default_factory=dict)
    remote: tuple[Entry, ...] = ()


class NameIndex:
    """Resolves names against one list of entries. Immutable once built."""

    def __init__(self, named: Iterable[tuple[str, Entry]], rules: NameRules) -> None:
        """`named`: each path of each entry, relative and with extension, beside its entry."""
        exact: dict[str, list[Entry]] = defaultdict(list)
        stems: dict[str, list[Entry]] = defaultdict(list)
        aliases: dict[str, list[Entry]] = defaultdict(list)
        entries: dict[str, Entry] = {}
        for name, entry in named:
            exact[name].append(entry)
            stem = stem_of(name, entry)
            if stem != name:
                stems[stem].append(entry)
            entries[entry.key] = entry
        for entry in entries.values():
            for alias in entry.aliases:
                aliases[alias].append(entry)
        self._tiers = (exact, stems)
        self._own_aliases = aliases
        self._rules = rules
        self._entries = tuple(entries.values())
        # Usable ones last, so that they win over a broken one with the same contents.
        by_use = sorted(self._entries, key=lambda entry: entry.status != "broken")
        self._by_id = {entry.sha256: entry for entry in by_use if entry.sha256}
        self._ids = sorted(self._by_id)

    def by_id(self, sha256: str) -> Entry | None:
        return self._by_id.get(sha256)

    def resolve(self, name: str, task: str | None = None) -> Entry:
        """Raises ModelNotFound, with the nearest names, unless exactly one is meant."""
        return self._resolve(name, task, self._rules.aliases, self._rules.task_aliases)

    def default_for(self, task: str) -> Entry:
        """The model when a request names none. Raises InvalidInput that lists the candidates."""
        configured = self._rules.default_models.get(task)
        if configured is not None:
            return self._configured(configured, task)
        usable = [
            entry for entry in self._entries if task in entry.tasks and entry.status != "broken"
        ]
        pinned = [entry for entry in usable if entry.overrides.get("pin")]
        # What leaves this machine does so by its name, or where nothing here can do it.
        chosen = pinned or [entry for entry in usable if entry.upstream is None] or usable
        if len(chosen) == 1:
            return chosen[0]
        raise _no_default(task, chosen, [e.name for e in self._entries if e.unconverted])

    def is_among(self, entry: Entry, names: Collection[str]) -> bool:
        """Whether one of these names means it: a name, an id, an alias, or a beginning (`tiny-*`).

        The aliases that stand for a task's default mean what is the default now.
        """
        stem = stem_of(entry.name, entry)
        own = {name for name in (entry.name, stem, entry.sha256, *entry.aliases) if name}
        for name in names:
            if name in own or self._rules.aliases.get(name) in own:
                return True
            if name.endswith("*") and any(known.startswith(name[:-1]) for known in own):
                return True
            if name in self._rules.task_aliases:
                with contextlib.suppress(InvalidInput):  # there is no default
                    if self.default_for(self._rules.task_aliases[name]).key == entry.key:
                        return True
        return False

    def _resolve(
        self,
        name: str,
        task: str | None,
        aliases: Mapping[str, str],
        task_aliases: Mapping[str, str],
    ) -> Entry:
        """`aliases` and `task_aliases` are those still to be followed, so no circle can form."""
        found = self._real(name)
        if not found and name in aliases:
            return self._target_of(name, aliases[name], task, task_aliases)
        found = found or self._own_aliases.get(name) or self._by_prefix(name)
        if not found and name in task_aliases:
            return self._default_of_alias(name, task_aliases[name], task)
        return self._only(name, found, task)

    def _real(self, name: str) -> Sequence[Entry]:
        by_id = self._by_id.get(name)
        if by_id is not None:
            return [by_id]
        return next((tier[name] for tier in self._tiers if name in tier), ())

    def _by_prefix(self, name: str) -> Sequence[Entry]:
        if not _HEX.fullmatch(name):
            return ()
        start = bisect.bisect_left(self._ids, name)
        end = bisect.bisect_left(self._ids, name + "g")
        return [self._by_id[sha256] for sha256 in self._ids[start : min(end, start + _SHOWN)]]

    def _target_of(
        self, alias: str, target: str, task: str | None, task_aliases: Mapping[str, str]
    ) -> Entry:
        try:
            return self._resolve(target, task, {}, task_aliases)
        except ModelNotFound as error:
            message = f"{_short(alias)} stands for {_short(target)}, but {error.message}"
            raise ModelNotFound(message, param="model", details=error.details) from None

    def _default_of_alias(self, alias: str, meant: str, task: str | None) -> Entry:
        """Raises ModelNotFound where there is no such default, and says why."""
        try:
            return self._default_of(meant, task)
        except InvalidInput as error:
            message = f"{_short(alias)} stands for the default {meant} model, but {error.message}"
            if not error.details["candidates"]:
                raise self._not_found(message, alias) from None
            details = {"nearest": error.details["candidates"]}
            raise ModelNotFound(message, param="model", details=details) from None

    def _default_of(self, meant: str, task: str | None) -> Entry:
        """The default of one task; of the task asked for when there is none that can do that.

        So a name of OpenAI's for pictures also edits them where one model of many can.
        """
        try:
            entry = self.default_for(meant)
        except InvalidInput:
            if task is None or task == meant:
                raise
            return self.default_for(task)
        return entry if task is None or task in entry.tasks else self.default_for(task)

    def _configured(self, name: str, task: str) -> Entry:
        try:
            return self._resolve(name, task, self._rules.aliases, {})
        except ModelNotFound as error:
            message = f"the configured default for {task} cannot be used: {error.message}"
            details = {"candidates": error.details["nearest"]}
            raise InvalidInput(message, param="model", details=details) from None

    def _only(self, name: str, found: Sequence[Entry] | None, task: str | None) -> Entry:
        if not found:
            raise self._not_found(f"there is no model {_short(name)}", name)
        unique = list({entry.key: entry for entry in found}.values())
        able = [entry for entry in unique if task in entry.tasks] or unique
        if len(able) == 1:
            return able[0]
        nearest = [entry.sha256 or entry.name for entry in able[:_SHOWN]]
        raise ModelNotFound(
            f"{_short(name)} may mean {len(able)} models; name one of them: {', '.join(nearest)}",
            param="model", details={"nearest": nearest},
        )  # fmt: skip

    def _not_found(self, message: str, name: str) -> ModelNotFound:
        nearest = self._nearest(name)
        hint = f"; nearest: {', '.join(nearest)}" if nearest else ""
        return ModelNotFound(message + hint, param="model", details={"nearest": nearest})

    def _nearest(self, name: str) -> list[str]:
        """Names that look like it, likest first; a few names when none does."""
        known = dict.fromkeys([entry.name for entry in self._entries])
        known |= dict.fromkeys([*self._own_aliases, *self._rules.aliases])
        if len(name) > _MAX_COMPARED_LENGTH:
            return []
        folded = {text.lower(): text for text in known}
        likest = difflib.get_close_matches(name.lower(), folded, n=_SHOWN, cutoff=_LIKENESS)
        return [folded[text] for text in likest] or sorted(known)[:_SHOWN]


def stem_of(name: str, entry: Entry) -> str:
    """A file's name without extension; a folder's name is whole."""
    return name[: -len(entry.extension)] if entry.extension else name


def _no_default(task: str, candidates: Sequence[Entry], unconverted: Sequence[str]) -> InvalidInput:
    """`unconverted`: what nobody used yet, so that its tasks are not known."""
    names = sorted(entry.name for entry in candidates)
    setting = f"ONEBOX_DEFAULT_{task.upper().replace('-', '_')}"
    if not names:
        message = f"no model here can do {task}; put one into the model folder"
        if unconverted:
            shown = ", ".join(sorted(unconverted)[:_SHOWN])
            message += f", or name one whose tasks come out on first use: {shown}"
    else:
        shown = ", ".join(names[:_SHOWN_CANDIDATES])
        message = f"name a model for {task}: {shown}; {setting} sets a default"
    return InvalidInput(message, param="model", details={"candidates": names})


def _short(name: str) -> str:
    return repr(name[:100])
