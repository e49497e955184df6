"""`onebox keys` and `onebox token`."""

from __future__ import annotations

import click

from onebox.cli.credits import show_credits
from onebox.cli.explained import explains_errors
from onebox.cli.stored_keys import create_key, list_keys, revoke_key, rotate_key
from onebox.core.settings import Settings, load_settings
from onebox.core.units import DAY_S


@click.group(commands=[create_key, list_keys, revoke_key, rotate_key, show_credits])
def keys() -> None:
    """The keys that clients send."""


@keys.command(name="show")
@explains_errors
def show_keys() -> None:
    """Print the key that the first start made."""
    key = generated_key(load_settings())
    if key is None:
        raise click.ClickException(
            "there is no generated key: start the server once, or see API_KEYS"
        )
    click.echo(key)


@keys.command(name="webhook")
@explains_errors
def show_webhook_secret() -> None:
    """Print what webhooks are signed with; their receivers need it."""
    from onebox.services.webhooks.signing import SECRET_FILE, webhook_secret

    settings = load_settings()
    if settings.webhook_secret is None and not (settings.data_dir / SECRET_FILE).is_file():
        raise click.ClickException(
            "there is no secret yet: start the server once, or set ONEBOX_WEBHOOK_SECRET"
        )
    click.echo(webhook_secret(settings.webhook_secret, settings.data_dir))


@click.group()
def token() -> None:
    """JSON Web Tokens."""


@token.command(name="create")
@click.option("--subject", default="onebox", show_default=True, help="Whom the token is for.")
@click.option("--scope", "scopes", multiple=True, default=("infer",), show_default=True)
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True
)
@explains_errors
def create_token(subject: str, scopes: tuple[str, ...], days: float) -> None:
    """Sign a token with SECRET_KEY."""
    from onebox.services.access.creation import create_tokens

    settings: Settings = load_settings()
    click.echo(create_tokens(settings).sign(subject, scopes, days * DAY_S))


def generated_key(settings: Settings) -> str | None:
    """The admin key that the first start made, if it made one."""
    from onebox.services.access.keys.generated import ADMIN_KEY_FILE
    from onebox.services.secret_files import read_secret

    return read_secret(settings.data_dir / ADMIN_KEY_FILE)


def key_for_requests(settings: Settings) -> str | None:
    """A key that the server with these settings takes, or None where there is none at all."""
    from onebox.services.access.creation import create_tokens

    configured = (*settings.api_keys, *settings.admin_keys)
    if configured:
        return configured[0].get_secret_value()
    if settings.secret_key:
        return create_tokens(settings).sign("terminal", ("infer",), DAY_S)
    return generated_key(settings)
