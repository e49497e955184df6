"""`onebox serve` and `onebox doctor`."""

from __future__ import annotations

import contextlib
import gc
import sys

import click

from onebox.cli.explained import explains_errors
from onebox.core.logs import configure_logs
from onebox.core.settings import load_settings


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="TCP port.")
@explains_errors
def serve(host: str | None = None, port: int | None = None) -> None:
    """Serve the models in ai-models/."""
    # Nothing of what a start makes is garbage, and looking for it takes a sixth of the time: until
    # the server is up and switches it on again.
    gc.disable()
    from onebox.api.app import create_app
    from onebox.api.server import serve as run
    from onebox.bootstrap import build_services
    from onebox.starter.first_start import FirstStart

    given = {"host": host, "port": port}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    configure_logs(settings.log_level, settings.log_format)
    services = build_services(settings)
    with contextlib.closing(FirstStart(settings)) as first_start:
        first_start.start()
        run(create_app(services), services)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@explains_errors
def doctor(as_json: bool) -> None:
    """Print devices, versions, disks and what is wrong with them."""
    from onebox.hardware import doctor as report_of
    from onebox.hardware.backend import TorchBackend

    report = report_of.collect(load_settings(), TorchBackend())
    click.echo(report_of.as_json(report) if as_json else report_of.as_table(report))
    sys.exit(0 if report.healthy else 1)
