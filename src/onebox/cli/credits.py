"""`onebox keys credits`: what is left for a key. A server that runs sees a change in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onebox.cli.explained import explains_errors
from onebox.cli.stored import with_database

if TYPE_CHECKING:
    from onebox.services.database import Database


@click.command(name="credits")
@click.argument("key")
@click.option("--add", "added", type=float, help="Give so many; a negative number takes them.")
@click.option("--set", "balance", type=float, help="From now on there are so many.")
@click.option("--remove", is_flag=True, help="From now on the key needs none.")
@explains_errors
def show_credits(key: str, added: float | None, balance: float | None, remove: bool) -> None:
    """Print what is left for a key: its id, or as /v1/usage names it. It can be changed before."""
    if (added is not None) + (balance is not None) + remove > 1:
        raise click.UsageError("give one of --add, --set and --remove")
    left = _changed(key, added, balance, remove)
    click.echo("unlimited" if left is None else f"{left:.12g}")


def _changed(key: str, added: float | None, balance: float | None, remove: bool) -> float | None:
    from onebox.services.access.keys.keys import Keys
    from onebox.services.usage.credits import Credits
    from onebox.services.usage.key_names import existing_caller

    async def change(database: Database) -> float | None:
        credits = Credits(database)
        caller = await existing_caller(key, Keys(database))
        if added is not None:
            return (await credits.add(caller, added)).credits
        if balance is not None:
            return (await credits.set(caller, balance)).credits
        if remove:
            return (await credits.remove(caller)).credits
        now, _ = await credits.balance(caller)
        return now.credits

    return with_database(change)
