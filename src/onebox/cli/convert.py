"""`onebox convert`: safetensors of a pickled checkpoint, by hand."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click

from onebox.cli.explained import explains_errors
from onebox.core.errors import InvalidInput


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Where to; default: beside PATH.")
@explains_errors
def convert(path: Path, out: Path | None) -> None:
    """Make safetensors of the pickled checkpoint PATH, a file or a folder.

    `model.ckpt` becomes `model.safetensors` beside it, a folder `name` becomes `name-safetensors`;
    PATH stays as it is. No code in it is run: what holds more than weights is refused.
    """
    from onebox.registry.on_disk import open_on_disk
    from onebox.services.pickles.converter import Converter

    path = path.absolute()
    on_disk = open_on_disk(path)
    place = (out or _beside(path)).absolute()
    if place.exists():
        raise InvalidInput(f"{place} is there already; remove it, or name another place with --out")
    place.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that a server does not take it for a model before it is whole.
    workspace = Path(tempfile.mkdtemp(prefix=".convert-", dir=place.parent))
    try:
        made = workspace / place.name
        Converter(path, on_disk.files, is_folder=on_disk.is_folder).run(made, _show)
        settings = path / "onebox.toml"
        if settings.is_file():
            shutil.copyfile(settings, made / "onebox.toml")
        made.rename(place)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    click.echo(f"{place} is made; {path.name} can go when it works")


def _beside(path: Path) -> Path:
    if path.is_dir():
        return path.with_name(f"{path.name}-safetensors")
    return path.with_suffix(".safetensors")


def _show(fraction: float) -> None:
    if sys.stderr.isatty():
        end = "\n" if fraction >= 1 else "\r"
        click.echo(f"converting  {fraction:4.0%}{end}", nl=False, err=True)
