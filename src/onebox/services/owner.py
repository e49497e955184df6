"""Whose work it is, where several servers share a database."""

from __future__ import annotations

from onebox.core.settings import Settings
from onebox.services.secret_files import stored_secret

FILE = "server.id"
PREFIX = "server_"


def owner_of(settings: Settings) -> str | None:
    """What this server is called among those of its database; None where it is the only one.

    The name stays with the data folder, which has the files of its jobs.
    """
    if settings.database_url is None:
        return None
    return stored_secret(settings.data_dir / FILE, PREFIX)
