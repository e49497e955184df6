"""`onebox serve` and `onebox doctor`."""

from __future__ import annotations

import contextlib
import gc
import sys

import click
import structlog

from onebox.cli.explained import explains_errors
from onebox.core.log_file import LogFile
from onebox.core.log_settings import log_file_plan
from onebox.core.logs import configure_logs
from onebox.core.settings import load_settings


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="TCP port.")
@click.option("--check", is_flag=True, help="Say what would be served and what is wrong, and end.")
@click.option("--make-key", is_flag=True, help="Without any key make one, as on 127.0.0.1.")
@explains_errors
def serve(
    host: str | None = None, port: int | None = None, check: bool = False, make_key: bool = False
) -> None:
    """Serve the models in ai-models/."""
    # Nothing of what a start makes is garbage, and looking for it takes a sixth of the time: until
    # the server is up and switches it on again.
    gc.disable()
    given = {"host": host, "port": port}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    if check:
        from onebox.cli import checking

        configure_logs("ERROR", settings.log_format)
        sys.exit(0 if checking.check(settings, may_make_key=make_key) else 1)
    from onebox.api.app import create_app
    from onebox.api.server import serve as run
    from onebox.bootstrap import build_services
    from onebox.core.settings_sources import unknown_names
    from onebox.starter.first_start import FirstStart

    plan = log_file_plan(settings)
    log_file = LogFile(plan) if plan else None
    configure_logs(settings.log_level, settings.log_format, log_file)
    for unknown in unknown_names(settings.root):
        structlog.get_logger(__name__).warning("unknown_setting", reason=unknown.text())
    services = build_services(settings, may_make_key=make_key)
    with contextlib.ExitStack() as running:
        if log_file is not None:
            # Not before the data folder is ours: no other server writes there then.
            log_file.open()
            running.callback(log_file.close)
        first_start = running.enter_context(contextlib.closing(FirstStart(settings)))
        first_start.start()
        run(create_app(services), services)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@explains_errors
def doctor(as_json: bool) -> None:
    """Print devices, versions, disks, and what is wrong with them, settings, keys and clock."""
    from onebox.hardware import doctor as report_of
    from onebox.hardware.backend import TorchBackend
    from onebox.services.checkup.everything import check_all

    settings = load_settings()
    found = check_all(settings)
    report = report_of.collect(settings, TorchBackend()).with_more(found.problems, found.warnings)
    click.echo(report_of.as_json(report) if as_json else report_of.as_table(report))
    sys.exit(0 if report.healthy else 1)
