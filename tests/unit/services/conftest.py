from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from onebox.services.database import Database, sqlite_url
from tests.support.receiver import Receiver
from tests.unit.services.job_kit import BACKENDS, Kit, empty_url, migrated
from tests.unit.services.posting import Shop


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with its tables, to be copied: making them takes alembic a while."""
    return migrated(tmp_path_factory.mktemp("migrated"))


@pytest.fixture(params=BACKENDS)
def kit(request: pytest.FixtureRequest, tmp_path: Path, migrated_database: Path) -> Iterator[Kit]:
    """The table of jobs in each database that is reachable."""
    made = Kit(tmp_path, empty_url(request.param, tmp_path, migrated_database))
    yield made
    made.database.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """What webhooks are sent with."""
    database = Database(sqlite_url(tmp_path / "onebox.db"))
    yield Shop(database)
    database.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server that webhooks arrive at."""
    with Receiver() as made:
        yield made
