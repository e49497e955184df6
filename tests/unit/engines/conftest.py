from __future__ import annotations

import pytest

from tests.unit.engines.fakes import Desk


@pytest.fixture
def desk():
    desk = Desk()
    yield desk
    desk.close()
    assert desk.memory.out == []
