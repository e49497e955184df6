"""The command line: `python3 app.py [command]`, `onebox [command]`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click
from pydantic import ValidationError

from onebox import __version__
from onebox.core.errors import AppError
from onebox.core.logs import configure_logs
from onebox.core.settings import Settings, load_settings

P = ParamSpec("P")
R = TypeVar("R")

DAY_S = 86400


def _explains_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Print our own errors and bad settings as one line, without a traceback."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except AppError as error:
            raise click.ClickException(error.message) from error
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()]
            raise click.ClickException("bad settings: " + "; ".join(problems)) from error

    return wrapped


@click.group(invoke_without_command=True)
@click.version_option(__version__, prog_name="onebox")
@click.pass_context
def main(context: click.Context) -> None:
    """Onebox: one server for every local model. Without a command: serve."""
    if context.invoked_subcommand is None:
        context.invoke(serve)


@main.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="TCP port.")
@_explains_errors
def serve(host: str | None = None, port: int | None = None) -> None:
    """Serve the models in ai-models/."""
    from onebox.api.app import create_app
    from onebox.api.server import serve as run
    from onebox.bootstrap import build_services

    given = {"host": host, "port": port}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    configure_logs(settings.log_level, settings.log_format)
    services = build_services(settings)
    run(create_app(services), services)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@_explains_errors
def doctor(as_json: bool) -> None:
    """Print devices, versions, disks and what is wrong with them."""
    from onebox.hardware import doctor as report_of
    from onebox.hardware.backend import TorchBackend

    report = report_of.collect(load_settings(), TorchBackend())
    click.echo(report_of.as_json(report) if as_json else report_of.as_table(report))
    sys.exit(0 if report.healthy else 1)


@main.command(name="list")
@_explains_errors
def list_models() -> None:
    """List the models on disk."""
    from onebox.bootstrap import build_registry
    from onebox.core.plugins import load_plugins
    from onebox.registry.hash_store import HashStore

    settings = load_settings()
    configure_logs("WARNING", settings.log_format)
    load_plugins()
    hash_store = HashStore(settings.data_dir / "cache.db")
    registry = build_registry(settings, hash_store)
    registry.rescan()
    registry.hash_now()
    hash_store.close()
    for entry in registry.entries():
        state = entry.reason if entry.status == "broken" else ", ".join(entry.tasks)
        digest = (entry.sha256 or "-")[:12]
        click.echo(f"{entry.name}\t{digest}\t{entry.size_bytes}\t{entry.status}\t{state or '-'}")


@main.group()
def keys() -> None:
    """The keys that clients send."""


@keys.command(name="show")
@_explains_errors
def show_keys() -> None:
    """Print the key that the first start made."""
    from onebox.bootstrap import ADMIN_KEY_FILE

    path = load_settings().data_dir / ADMIN_KEY_FILE
    if not path.is_file():
        raise click.ClickException(
            "there is no generated key: start the server once, or see API_KEYS"
        )
    click.echo(path.read_text(encoding="utf-8").strip())


@main.group()
def token() -> None:
    """JSON Web Tokens."""


@token.command(name="create")
@click.option("--subject", default="onebox", show_default=True, help="Whom the token is for.")
@click.option("--scope", "scopes", multiple=True, default=("infer",), show_default=True)
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True
)
@_explains_errors
def create_token(subject: str, scopes: tuple[str, ...], days: float) -> None:
    """Sign a token with SECRET_KEY."""
    from onebox.bootstrap import create_authenticator

    settings: Settings = load_settings()
    click.echo(create_authenticator(settings).sign(subject, scopes, days * DAY_S))


if __name__ == "__main__":
    main()
