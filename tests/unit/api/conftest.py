from __future__ import annotations

import dataclasses

import pytest

from onebox.api.app import create_app
from tests.unit.api.asking import build, tear_down
from tests.unit.api.familiar import with_families


@pytest.fixture(scope="package")
def services(tmp_path_factory):
    built = build(tmp_path_factory.mktemp("onebox"))
    yield built
    tear_down(built)


@pytest.fixture(scope="package")
def roomy(services):
    """The same services, for bodies of megabytes."""
    settings = services.settings.model_copy(update={"max_body_bytes": 2**24})
    return dataclasses.replace(services, settings=settings)


@pytest.fixture(scope="package")
def app(services):
    return create_app(services)


@pytest.fixture(scope="package")
def familiar(services):
    """The same services with the familiar routes of all families."""
    return dataclasses.replace(services, **with_families(services))
