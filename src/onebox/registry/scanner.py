"""The walk over the model folders: which checkpoints lie there, from names and stat calls alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from onebox.registry import layout


class FileStat(NamedTuple):
    """One file as a scan saw it; equal means unchanged. `relative` to its checkpoint, POSIX."""

    relative: str
    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint on disk; its contents have not been looked at.

    Attributes:
        root: real path of its model folder, which links may not leave.
        name: POSIX path relative to `root`, with extension.
        files: what loading may read, sorted; a single file's `relative` is its own name.
        settings: its `onebox.toml`, if one is there; `relative` to `directory`.
        problem: why it cannot be used, seen from the walk alone.
    """

    path: str
    root: str
    name: str
    extension: str
    is_folder: bool
    files: tuple[FileStat, ...]
    settings: FileStat | None = None
    problem: str | None = None

    @property
    def directory(self) -> str:
        """Folder that `files` and `settings` are relative to."""
        return self.path if self.is_folder else os.path.dirname(self.path)

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def newest_mtime_s(self) -> float:
        stats = (*self.files, self.settings) if self.settings else self.files
        return max((file.mtime_ns for file in stats), default=0) / 1e9

    @property
    def signature(self) -> tuple[tuple[str, int, int, int], ...]:
        """What stays the same when the checkpoint is renamed."""
        return tuple((file.relative if self.is_folder else "", *file[1:]) for file in self.files)


class _Folder(NamedTuple):
    path: str
    relative: str
    linked: bool


class _Listing(NamedTuple):
    folders: list[_Folder]
    files: dict[str, os.DirEntry[str]]
    leaving: dict[str, os.DirEntry[str]]


def scan(folders: list[Path]) -> dict[str, Candidate]:
    """Every checkpoint below the folders by path. What cannot be listed is left out."""
    found: dict[str, Candidate] = {}
    for root in dict.fromkeys(os.path.realpath(folder) for folder in folders):
        for candidate in _walk(root):
            found.setdefault(candidate.path, candidate)
    return found


def scan_one(path: Path, within: Path | None = None) -> Candidate | None:
    """The checkpoint at `path`, or None. Links may not leave `within`, by default the folder."""
    text, real = os.path.abspath(path), os.path.realpath(path)
    root = real if within is None else os.path.realpath(within)
    if not _is_inside(real, root):
        return None
    if os.path.isdir(text):
        listing = _list(_Folder(text, "", linked=text != real), root)
        return _folder_candidate(text, path.name, listing, root)
    if not os.path.isfile(text):
        return None
    settings = os.path.join(os.path.dirname(text), layout.settings_name(path.name))
    return _file_candidate(text, root, path.name, settings)


def _walk(root: str) -> Iterator[Candidate]:
    pending = [_Folder(root, "", linked=False)]
    while pending:
        folder = pending.pop()
        listing = _list(folder, root)
        if folder.relative and layout.is_checkpoint_folder(set(listing.files)):
            yield _folder_candidate(folder.path, folder.relative, listing, root)
            continue
        pending.extend(listing.folders)
        for name, entry in listing.files.items():
            if layout.is_weights(name):
                settings = listing.files.get(layout.settings_name(name))
                candidate = _file_candidate(
                    entry.path,
                    root,
                    _join(folder.relative, name),
                    settings.path if settings else None,
                )
                if candidate is not None:
                    yield candidate


def _list(folder: _Folder, root: str) -> _Listing:
    """What counts in one folder. Links may stay inside `root`, one level of them deep."""
    listing = _Listing([], {}, {})
    try:
        with os.scandir(folder.path) as scanned:
            entries = {entry.name: entry for entry in scanned}
    except OSError:
        return listing
    for name in layout.visible(set(entries)):
        entry = entries[name]
        is_link = entry.is_symlink()
        target = os.path.realpath(entry.path) if is_link else ""
        if is_link and not _is_inside(target, root):
            listing.leaving[name] = entry
        elif _is_file(entry):
            listing.files[name] = entry
        elif _is_folder(entry) and not (
            is_link and (folder.linked or _is_inside(folder.path, target))
        ):
            listing.folders.append(
                _Folder(entry.path, _join(folder.relative, name), folder.linked or is_link)
            )
    return listing


def _file_candidate(path: str, root: str, name: str, settings_path: str | None) -> Candidate | None:
    stat = _stat(path, os.path.basename(path))
    if stat is None:
        return None
    settings = _stat(settings_path, os.path.basename(settings_path)) if settings_path else None
    return Candidate(path, root, name, layout.extension(name), False, (stat,), settings)


def _folder_candidate(path: str, name: str, listing: _Listing, root: str) -> Candidate:
    files: list[FileStat] = []
    problem: str | None = None
    pending = [("", listing)]
    while pending:
        relative, inner = pending.pop()
        for file_name, entry in inner.files.items():
            stat = (
                _stat(entry.path, _join(relative, file_name))
                if layout.is_read_when_loading(file_name)
                else None
            )
            if stat is not None:
                files.append(stat)
        for folder in inner.folders:
            # `relative` of a nested listing starts at the checkpoint, not at the model folder.
            below = _join(relative, os.path.basename(folder.path))
            pending.append((below, _list(folder, root)))
        problem = problem or _leaving_problem(relative, inner.leaving)
    settings = listing.files.get(layout.SETTINGS)
    return Candidate(
        path=path, root=root, name=name, extension="", is_folder=True, files=tuple(sorted(files)),
        settings=_stat(settings.path, layout.SETTINGS) if settings else None, problem=problem,
    )  # fmt: skip


def _leaving_problem(relative: str, leaving: dict[str, os.DirEntry[str]]) -> str | None:
    """A loader would follow the link, so a checkpoint that has one is refused as a whole."""
    for name, entry in sorted(leaving.items()):
        if layout.is_read_when_loading(name) or _is_folder(entry):
            link = _join(relative, name)
            return f"{link} is a link that leaves the model folder; put the file itself there"
    return None


def _stat(path: str, relative: str) -> FileStat | None:
    try:
        # Not DirEntry.stat(): on Windows that one knows no inode.
        stat = os.stat(path)
    except OSError:
        return None
    return FileStat(relative, stat.st_size, stat.st_mtime_ns, stat.st_ino)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _join(relative: str, name: str) -> str:
    return f"{relative}/{name}" if relative else name
