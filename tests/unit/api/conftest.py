from __future__ import annotations

import pytest

from onebox.api.app import create_app
from tests.unit.api.asking import build, tear_down


@pytest.fixture(scope="package")
def services(tmp_path_factory):
    built = build(tmp_path_factory.mktemp("onebox"))
    yield built
    tear_down(built)


@pytest.fixture(scope="package")
def app(services):
    return create_app(services)
