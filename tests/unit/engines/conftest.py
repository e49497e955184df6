from __future__ import annotations

import pytest

from tests.unit.engines.cutter import Cutter
from tests.unit.engines.fakes import Desk
from tests.unit.engines.scribe import Scribe


@pytest.fixture
def desk():
    desk = Desk()
    yield desk
    desk.close()
    assert desk.memory.out == []


@pytest.fixture
def scribe():
    scribe = Scribe()
    yield scribe
    scribe.close()
    assert scribe.memory.out == []
    assert scribe.decoder.held == {}


@pytest.fixture
def cutter():
    cutter = Cutter()
    cutter.start()
    yield cutter
    cutter.close()
    assert cutter.memory.out == []
