"""docs/compat.md has one table of all names, and each row a test of its own."""

from __future__ import annotations

from onebox.core.settings_compat import FAMILIES
from tests.unit.api import test_compat_errors, test_compat_generate, test_compat_studio
from tests.unit.api import test_compat_tryon as try_on
from tests.unit.api.asking import api_routes
from tests.unit.api.familiar import TESTED, rows
from tests.unit.api.texts import Texts, app_with
from tests.unit.core import test_settings_compat
from tests.unit.services import test_compat_metrics

# Their rows are noted when they are imported.
MODULES = (
    test_compat_errors,
    test_compat_generate,
    test_compat_studio,
    try_on,
    test_settings_compat,
    test_compat_metrics,
)


def test_every_row_has_its_test_and_every_test_its_row():
    told = rows()
    assert len(told) == len(set(told))
    assert set(told) == set(TESTED)
    names = {name for module in MODULES for name in vars(module)}
    assert [test for test in TESTED.values() if test not in names] == []
    # One each.
    assert len(set(TESTED.values())) == len(TESTED)


def test_every_route_setting_and_shape_has_a_row(services, familiar):
    own = set(api_routes(app_with(services, Texts())))
    routes = {" ".join(each) for each in set(api_routes(app_with(familiar, Texts()))) - own}
    told = {name for _, name in rows()}
    assert {name for name in told if name.startswith(("GET ", "POST "))} == routes
    for family, names in FAMILIES.items():
        assert {name for each, name in rows() if each == family} >= {*names, "errors"}
