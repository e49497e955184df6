"""Where the settings have log lines go."""

from __future__ import annotations

from pathlib import Path

from onebox.core.log_file import LogFilePlan
from onebox.core.settings import Settings


def log_file_plan(settings: Settings) -> LogFilePlan | None:
    """Where the gateway's lines go besides the console, if anywhere."""
    wanted = settings.log_file
    if wanted == "off":
        return None
    path = settings.data_dir / "logs" / "onebox.log"
    if wanted != "auto":
        path = (settings.root / Path(wanted).expanduser()).resolve()
    return LogFilePlan(str(path), int(settings.log_file_size), settings.log_files)
