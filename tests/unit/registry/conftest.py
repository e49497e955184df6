from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.registry.fakes import Bench


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    models.mkdir()
    return models


@pytest.fixture
def bench(folder: Path) -> Iterator[Bench]:
    # In memory: a busy disk makes a database file slow to create.
    bench = Bench(folder, Path(":memory:"))
    yield bench
    bench.registry.stop()
    bench.store.close()
