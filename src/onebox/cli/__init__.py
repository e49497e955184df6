"""The command line: `python3 app.py [command]`, `onebox [command]`."""

from __future__ import annotations

import click

from onebox import __version__
from onebox.cli.chat import chat
from onebox.cli.convert import convert
from onebox.cli.keys import keys, token
from onebox.cli.models import list_models, pull
from onebox.cli.serving import doctor, serve

__all__ = ["main"]


@click.group(
    invoke_without_command=True,
    commands=[serve, doctor, list_models, pull, convert, chat, keys, token],
)
@click.version_option(__version__, prog_name="onebox")
@click.pass_context
def main(context: click.Context) -> None:
    """Onebox: one server for every local model. Without a command: serve."""
    if context.invoked_subcommand is None:
        context.invoke(serve)
