"""`onebox keys create|list|revoke|rotate`: the keys in the database.

A server on the same database sees a change within a second; none need run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from onebox.cli.explained import explains_errors
from onebox.cli.models import table
from onebox.cli.stored import with_database
from onebox.core.errors import InvalidInput
from onebox.core.units import DAY_S
from onebox.core.usage_units import parse_amounts

if TYPE_CHECKING:
    from onebox.services.access.keys.keys import Keys
    from onebox.services.access.keys.rows import StoredKey

T = TypeVar("T")

HOUR_S = 3600.0
PAGE = 1_000
HEADINGS = ("ID", "NAME", "KEY", "STATE", "SCOPES", "EXPIRES", "LAST USED")


@click.command(name="create")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, default=("infer",), show_default=True)
@click.option("--model", "models", multiple=True, help="It may use this one; default: all.")
@click.option("--requests-per-minute", type=click.IntRange(min=1))
@click.option("--tokens-per-minute", type=click.IntRange(min=1))
@click.option("--max-concurrent", type=click.IntRange(min=1), help="Requests at the same time.")
@click.option("--daily", default="", help="Quota of a day: pictures=100,device_seconds=600.")
@click.option("--monthly", default="", help="Quota of a month, written the same way.")
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True), help="Until it expires; default: never."
)
@explains_errors
def create_key(
    name: str,
    scopes: tuple[str, ...],
    models: tuple[str, ...],
    daily: str,
    monthly: str,
    days: float | None,
    **rates: int | None,
) -> None:
    """Make a key and print it: nobody can show it again."""
    from onebox.services.access.caller import Allowance

    allowance = Allowance(
        models=models or None, daily=_amounts(daily), monthly=_amounts(monthly), **rates
    )
    expires_at = None if days is None else time.time() + days * DAY_S
    key, secret = _with_keys(
        lambda stored: stored.create(
            name, scopes=scopes, allowance=allowance, expires_at=expires_at
        )
    )
    _show_secret(key, secret)


@click.command(name="list")
@explains_errors
def list_keys() -> None:
    """List all keys: a table in a terminal, tab-separated lines elsewhere."""
    rows = [_row(key) for key in _with_keys(_all)]
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(row))
    elif not rows:
        click.echo("there are no stored keys; `onebox keys create NAME` makes one")
    else:
        for line in table([HEADINGS, *rows], right=None):
            click.echo(line)


@click.command(name="revoke")
@click.argument("key_id")
@explains_errors
def revoke_key(key_id: str) -> None:
    """End a key for ever."""
    key = _with_keys(lambda stored: stored.revoke(key_id))
    click.echo(f"{key.id} ({key.name}) is revoked", err=True)


@click.command(name="rotate")
@click.argument("key_id")
@click.option(
    "--grace-hours",
    type=click.FloatRange(min=0, max=720),
    default=24.0,
    show_default=True,
    help="How long the old secret works on.",
)
@explains_errors
def rotate_key(key_id: str, grace_hours: float) -> None:
    """Give a key a new secret and print it: nobody can show it again."""
    key, secret = _with_keys(lambda stored: stored.rotate(key_id, grace_s=grace_hours * HOUR_S))
    _show_secret(key, secret)


def _with_keys(work: Callable[[Keys], Coroutine[Any, Any, T]]) -> T:
    """What the work makes of the keys in the database."""
    from onebox.services.access.keys.keys import Keys

    return with_database(lambda database: work(Keys(database)))


async def _all(stored: Keys) -> list[StoredKey]:
    found: list[StoredKey] = []
    after, has_more = None, True
    while has_more:
        part, has_more = await stored.page(after=after, limit=PAGE, order="asc")
        found += part
        after = part[-1].id if part else None
    return found


def _show_secret(key: StoredKey, secret: str) -> None:
    """On stdout the secret alone, for scripts."""
    click.echo(f"{key.id} ({key.name})", err=True)
    click.echo(secret)


def _row(key: StoredKey) -> tuple[str, ...]:
    return (
        key.id,
        key.name,
        key.prefix,
        key.state(time.time()),
        " ".join(sorted(key.scopes)),
        _moment(key.expires_at),
        _moment(key.last_used_at),
    )


def _moment(at: float | None) -> str:
    return "-" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%SZ}"


def _amounts(text: str) -> dict[str, float]:
    try:
        return parse_amounts(text)
    except ValueError as error:
        raise InvalidInput(str(error)) from error
