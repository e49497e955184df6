"""`onebox.db`: what must outlive the server. SQLite, or PostgreSQL by a URL."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from onebox.core.errors import AppError
from onebox.services.migrations import HEAD

log = structlog.get_logger(__name__)

T = TypeVar("T")
# Of a page, by age.
Order = Literal["asc", "desc"]
# A piece of work with who waits for it, and what came of it: a result or what was raised.
_Write = tuple[Callable[[Connection], Any], Future[Any]]
_Outcome = tuple[Any, BaseException | None]

DATABASE_FILE = "onebox.db"
THREADS = 4
# So many writes that wait are put on the disk together.
GROUP = 64
SAVEPOINT = "work"
BUSY_TIMEOUT_S = 10
WRITES = "onebox_writes"
MIGRATIONS = "migrations"


class DatabaseUnusable(AppError):
    """The server cannot start on this database."""

    code = "database_unusable"


class Database:
    """Owns the engine and the threads that use it: nothing waits for the disk on the event loop.

    Brings the tables up to date when it opens. Each piece of work is done whole or not at all, and
    goes on to its end when whoever awaits it is cancelled. Writes that wait for the disk at the
    same time share one transaction, in which each can fail alone.

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
        # SQLite has one writer at a time, and lets others sleep and try again. Others have many,
        # and join what they commit; locks held for a group could block each other there.
        self._writers = ThreadPoolExecutor(1 if is_sqlite else THREADS, "database-writer")
        self._group = GROUP if is_sqlite else 1
        self._waiting: deque[_Write] = deque()
        self._readers = ThreadPoolExecutor(THREADS, "database-reader")

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What the work returns; it must not write."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._run, work, False)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What the work returns, once it is on the disk."""
        return await asyncio.wrap_future(self._begin(work))

    def write_soon(self, work: Callable[[Connection], object]) -> None:
        """Begin now and wait for nothing; `close` does. A failure is logged."""
        self._begin(work).add_done_callback(_log_failure)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """In the calling thread, which must not be the event loop's while the server runs."""
        return self._run(work, True)

    def close(self) -> None:
        """Wait until everything is written."""
        self._writers.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self._engine.dispose()

    def _run(self, work: Callable[[Connection], T], writes: bool) -> T:
        with self._transaction(writes) as connection:
            return work(connection)

    @contextlib.contextmanager
    def _transaction(self, writes: bool) -> Iterator[Connection]:
        with (
            self._engine.connect().execution_options(**{WRITES: writes}) as connection,
            connection.begin(),
        ):
            yield connection

    def _begin(self, work: Callable[[Connection], T]) -> Future[T]:
        future: Future[T] = Future()
        # From here on it cannot be cancelled.
        future.set_running_or_notify_cancel()
        self._waiting.append((work, future))
        self._writers.submit(self._write_waiting)
        return future

    def _write_waiting(self) -> None:
        """Do what waits, in one transaction; nothing when an earlier call has done it."""
        group = list(_taken(self._waiting, self._group))
        if not group:
            return
        try:
            with self._transaction(True) as connection:
                outcomes = _done(connection, group)
        except BaseException as error:
            outcomes = [(None, error)] * len(group)
        for (_, future), (result, failure) in zip(group, outcomes, strict=True):
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)


def _taken(waiting: deque[_Write], most: int) -> Iterator[_Write]:
    with contextlib.suppress(IndexError):
        for _ in range(most):
            yield waiting.popleft()


def _done(connection: Connection, group: list[_Write]) -> list[_Outcome]:
    """What each returned or raised; one that is alone raises it."""
    if len(group) == 1:
        return [(group[0][0](connection), None)]
    return [_done_apart(connection, work) for work, _ in group]


def _done_apart(connection: Connection, work: Callable[[Connection], Any]) -> _Outcome:
    """One of a group: its failure undoes its own changes alone.

    Raises when they cannot be undone, as on a full disk: then nothing of the group is kept.
    """
    # Not `begin_nested`, which costs as much as the work itself.
    connection.exec_driver_sql(f"SAVEPOINT {SAVEPOINT}")
    try:
        result = work(connection)
    except BaseException as error:
        connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}")
        return None, error
    connection.exec_driver_sql(f"RELEASE SAVEPOINT {SAVEPOINT}")
    return result, None


def _log_failure(future: Future[Any]) -> None:
    if error := future.exception():
        log.error("not_written", exc_info=error)


def sqlite_url(path: Path) -> str:
    return URL.create("sqlite", database=str(path)).render_as_string()


def reach(url: str) -> None:
    """Connect to a database server, and change nothing. Raises DatabaseUnusable.

    A file, which opening would make, is left alone.
    """
    if url.startswith("sqlite"):
        return
    engine = _create_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except DBAPIError as error:
        raise DatabaseUnusable(
            f"{_place(engine)} cannot be reached: {error.orig}; is it up, and may this user in?"
        ) from error
    finally:
        engine.dispose()


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
