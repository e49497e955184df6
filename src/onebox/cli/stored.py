"""The database as a command finds it: that of the settings, whether a server runs on it or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from onebox.core.logs import configure_logs
from onebox.core.settings import load_settings

if TYPE_CHECKING:
    from onebox.services.database import Database

T = TypeVar("T")


def with_database(work: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    """What the work gives; the database is closed afterwards. Raises AppError."""
    from onebox.bootstrap import open_database

    settings = load_settings()
    configure_logs("WARNING", settings.log_format)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = open_database(settings)
    try:
        return asyncio.run(work(database))
    finally:
        database.close()
