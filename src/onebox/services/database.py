"""`onebox.db`: what must outlive the server. SQLite, or PostgreSQL by a URL."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from onebox.core.errors import AppError
from onebox.services.migrations import HEAD

log = structlog.get_logger(__name__)

T = TypeVar("T")

THREADS = 4
BUSY_TIMEOUT_S = 10
WRITES = "onebox_writes"
MIGRATIONS = "migrations"


class DatabaseUnusable(AppError):
    """The server cannot start on this database."""

    code = "database_unusable"


class Database:
    """Owns the engine and the threads that use it: nothing waits for the disk on the event loop.

    Brings the tables up to date when it opens. Each piece of work is one transaction, and is done
    whole or not at all; it goes on to its end when whoever awaits it is cancelled.

    Args:
        url: as SQLAlchemy writes them; raises DatabaseUnusable when it leads nowhere, and for a
            database that is damaged or of a newer version.
    """

    def __init__(self, url: str) -> None:
        self._engine = _create_engine(url)
        try:
            self.write_now(_bring_up_to_date)
        except DBAPIError as error:
            place = _place(self._engine)
            self._engine.dispose()
            raise DatabaseUnusable(
                f"{place} cannot be used: {error.orig}; restore a copy of it, "
                "or move it away and start with an empty one"
            ) from error
        except AppError:
            self._engine.dispose()
            raise
        is_sqlite = self._engine.dialect.name == "sqlite"
        # SQLite has one writer at a time, and lets others sleep and try again.
        self._writers = ThreadPoolExecutor(1 if is_sqlite else THREADS, "database-writer")
        self._readers = ThreadPoolExecutor(THREADS, "database-reader")

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What the work returns; it must not write."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._run, work, False)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What the work returns, once it is on the disk."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writers, self._run, work, True)

    def write_soon(self, work: Callable[[Connection], object]) -> None:
        """Begin now and wait for nothing; `close` does. A failure is logged."""
        self._writers.submit(self._run_logged, work)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """In the calling thread, which must not be the event loop's while the server runs."""
        return self._run(work, True)

    def close(self) -> None:
        """Wait until everything is written."""
        self._writers.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self._engine.dispose()

    def _run(self, work: Callable[[Connection], T], writes: bool) -> T:
        with (
            self._engine.connect().execution_options(**{WRITES: writes}) as connection,
            connection.begin(),
        ):
            return work(connection)

    def _run_logged(self, work: Callable[[Connection], object]) -> None:
        try:
            self._run(work, True)
        except Exception as error:
            log.error("not_written", exc_info=error)


def sqlite_url(path: Path) -> str:
    return URL.create("sqlite", database=str(path)).render_as_string()


def _create_engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed, pool_pre_ping=True, hide_parameters=True)
        # What is stored must not be in the text of an error, which is logged.
        engine = create_engine(parsed, hide_parameters=True)
    except (ArgumentError, NoSuchModuleError) as error:
        # Not the URL itself, which may hold a password.
        raise DatabaseUnusable(
            "ONEBOX_DATABASE_URL is not a database URL such as "
            "postgresql+psycopg://user:password@host/name"
        ) from error
    except ModuleNotFoundError as error:
        raise DatabaseUnusable(
            f"ONEBOX_DATABASE_URL needs the Python package {error.name}; install it with "
            f"pip install {error.name}"
        ) from error
    _create_private(parsed.database)
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _create_private(path: str | None) -> None:
    """An empty file that only its owner may read: what is asked and answered lies in it."""
    if path and path != ":memory:":
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _on_connect(connection: Any, _: object) -> None:
    # Python's own idea of when a transaction begins leaves statements that make tables out of it.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _on_begin(connection: Connection) -> None:
    # A transaction that reads first and writes later could not wait its turn.
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _bring_up_to_date(connection: Connection) -> None:
    stamp = stamp_of(connection)
    if stamp == HEAD:
        return
    # The numbers of steps have equal lengths.
    if stamp is not None and stamp > HEAD:
        raise DatabaseUnusable(
            f"{_place(connection.engine)} was written by a newer Onebox: it is at step {stamp}, "
            f"and this version knows steps up to {HEAD}; start that version, or set DATA_DIR to "
            "another folder"
        )
    migrate(connection, HEAD)
    log.info("database_migrated", before=stamp, now=HEAD)


def stamp_of(connection: Connection) -> str | None:
    """The number of the newest step that was taken; None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def migrate(connection: Connection, revision: str) -> None:
    """Take the steps up to one, in the connection's transaction."""
    # Its chatter about itself; what was done is said by us.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Only here: most starts find the tables as they should be.
    from alembic import command
    from alembic.config import Config

    config = Config()
    folder = Path(__file__).with_name(MIGRATIONS)
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _place(engine: Engine) -> str:
    """Where it is, without a password."""
    return engine.url.database or str(engine.url)
