"""`onebox serve --check`: everything is built beside the real data, looked at, and taken down."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from onebox.bootstrap import Services, build_services
from onebox.core.errors import AppError
from onebox.core.settings import Settings
from onebox.core.settings_sources import unknown_names
from onebox.services.access.keys.generated import ADMIN_KEY_FILE
from onebox.services.checkup.exposure import check_exposure
from onebox.services.checkup.findings import Findings
from onebox.services.checkup.ports import check_port
from onebox.services.checkup.secret_strength import check_secrets
from onebox.services.data_dir import holder_of
from onebox.services.database import DATABASE_FILE, reach


def check(settings: Settings, *, may_make_key: bool = False) -> bool:
    """Print what would be served and what is wrong. Whether nothing is.

    No worker is started, and what is written goes into a folder that is gone afterwards.
    """
    findings = Findings()
    findings.warnings.extend(unknown.text() for unknown in unknown_names(settings.root))
    check_port(settings, findings)
    check_secrets(settings, findings)
    check_exposure(settings, findings)
    _check_data(settings, findings)
    lines = _built(settings, findings, may_make_key=may_make_key)
    for line in (*lines, *told(findings)):
        click.echo(line)
    return not findings.problems


def told(findings: Findings) -> list[str]:
    """Warnings, then problems, numbered; or that all is well."""
    lines = []
    for title, texts in (("WARNINGS", findings.warnings), ("!!! PROBLEMS", findings.problems)):
        if texts:
            lines += ["", f"{title} ({len(texts)})"]
            lines += [f"  {number}. {text}" for number, text in enumerate(texts, 1)]
    return [*lines, *([] if findings.problems else ["", "ALL IS WELL"])]


def _check_data(settings: Settings, findings: Findings) -> None:
    nearest = next(
        path for path in (settings.data_dir, *settings.data_dir.parents) if path.exists()
    )
    try:
        # Not by its mode: a file system that may only be read does not show there.
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        findings.problems.append(
            f"DATA_DIR={settings.data_dir} cannot be written to ({error.strerror}): change its "
            "owner, or set DATA_DIR"
        )
    for folder in settings.model_dirs:
        if not folder.is_dir():
            findings.problems.append(
                f"MODEL_DIRS: {folder} does not exist: create it for models, or set MODEL_DIRS"
            )
    if settings.database_url is not None:
        # Opening it brings its tables up to date, which is for the server to do.
        try:
            reach(settings.database_url.get_secret_value())
        except AppError as error:
            findings.problems.append(f"ONEBOX_DATABASE_URL: {error.message}")


def _built(settings: Settings, findings: Findings, *, may_make_key: bool) -> list[str]:
    """What the server would serve. What it cannot be built with becomes a problem."""
    with tempfile.TemporaryDirectory(prefix="onebox-check-") as folder:
        beside = Path(folder)
        try:
            _copy_data(settings, beside)
        except sqlite3.Error as error:
            findings.problems.append(
                f"{settings.data_dir / DATABASE_FILE} cannot be read: {error}; restore a copy of "
                "it, or move it away and start with an empty one"
            )
            return []
        changed = {"data_dir": beside, "database_url": None}
        own = settings.model_copy(update=changed)
        # Whose keys are elsewhere is not known here.
        may_make_key = may_make_key or settings.database_url is not None
        try:
            with _services(own, may_make_key=may_make_key) as services:
                return _lines(settings, services, findings)
        except AppError as error:
            # It may name the copy.
            message = error.message.replace(str(beside), str(settings.data_dir))
            findings.problems.append(message)
            return []


@contextlib.contextmanager
def _services(settings: Settings, *, may_make_key: bool) -> Iterator[Services]:
    services = build_services(settings, may_make_key=may_make_key)
    try:
        yield services
    finally:
        asyncio.run(services.close())


def _copy_data(settings: Settings, beside: Path) -> None:
    """Keys and database as they are now, also while a server uses them."""
    key = settings.data_dir / ADMIN_KEY_FILE
    if key.is_file():
        shutil.copyfile(key, beside / ADMIN_KEY_FILE)
    database = settings.data_dir / DATABASE_FILE
    if settings.database_url is not None or not database.is_file():
        return
    if holder_of(settings.data_dir) is None:
        # Opened, even to be read only, it would get further files beside it.
        for name in (DATABASE_FILE, f"{DATABASE_FILE}-wal"):
            if (settings.data_dir / name).is_file():
                shutil.copyfile(settings.data_dir / name, beside / name)
    else:
        with (
            contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(beside / DATABASE_FILE)) as copy,
        ):
            source.backup(copy)


def _lines(settings: Settings, services: Services, findings: Findings) -> list[str]:
    services.registry.rescan()
    models = services.registry.entries()
    if not models and settings.starter == "off":
        findings.warnings.append(
            "there are no models in MODEL_DIRS; `onebox pull starter` fetches some"
        )
    for entry in models:
        if entry.status == "broken":
            findings.warnings.append(f"model {entry.name} is broken: {entry.reason}")
    holder = holder_of(settings.data_dir)
    running = f" (used by a running Onebox, process {holder})" if holder else ""
    rows = [
        ("address", f"http://{settings.host}:{settings.port}"),
        ("keys", _keys(settings, services)),
        ("data", f"{settings.data_dir}{running}"),
        ("device", ",".join(settings.device)),
        ("models", f"{len(models)} in {', '.join(map(str, settings.model_dirs))}"),
        *(("", f"{entry.name}: {', '.join(entry.tasks) or entry.status}") for entry in models),
    ]
    return ["Onebox would serve", *(f"  {name:8} {text}" for name, text in rows)]


def _keys(settings: Settings, services: Services) -> str:
    kinds = {
        f"{len(settings.api_keys)} in API_KEYS": settings.api_keys,
        f"{len(settings.admin_keys)} in ONEBOX_ADMIN_KEYS": settings.admin_keys,
        "JWT by SECRET_KEY": settings.secret_key,
        "JWT by ONEBOX_JWT_KEYS": settings.jwt_keys,
        "callers by ONEBOX_AUTH_VERIFY_URL": settings.auth_verify_url,
        "a generated one": services.generated_key,
    }
    return ", ".join(text for text, value in kinds.items() if value) or "stored ones"
