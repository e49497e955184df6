from __future__ import annotations

import pytest

from onebox.core.settings import load_settings
from onebox.core.usage_units import COUNTED, UNITS, parse_amounts
from onebox.services.request import Options, Prepared
from onebox.services.running import RunningRequests
from onebox.services.usage.prices import Prices
from onebox.services.usage.usage import Amounts
from tests.unit.services.counting import Books, used
from tests.unit.services.kitchen import MODEL, FakeInput, FakeTask

NAMES = {
    "daily_quota": "ONEBOX_DAILY_QUOTA",
    "monthly_quota": "ONEBOX_MONTHLY_QUOTA",
    "prices": "ONEBOX_PRICES",
}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    def load(**given):
        for name, text in given.items():
            monkeypatch.setenv(NAMES[name], text)
        return load_settings(root=tmp_path)

    return load


def credits(prices, **given):
    return Prices(prices).charged(used(**given)).amounts.credits


def test_a_request_costs_what_its_units_do():
    prices = {"device_seconds": 2.0, "completion_tokens": 0.01}
    assert credits(prices, device_seconds=1.5, completion_tokens=100) == 4.0


def test_a_model_may_have_a_price_of_its_own():
    prices = {"pictures": 1.0, "requests": 0.5, "sd-turbo:pictures": 4.0}
    assert credits(prices, model="sd-turbo", pictures=2) == 8.5
    assert credits(prices, model="other", pictures=2) == 2.5


def test_names_of_models_may_have_colons():
    assert credits({"org/a:b:pictures": 4.0}, model="org/a:b", pictures=1) == 4.0


def test_what_failed_costs_only_what_ran():
    prices = {"requests": 10.0, "pictures": 10.0, "device_seconds": 1.0}
    assert credits(prices, status="cancelled", device_seconds=3) == 3.0


def test_without_prices_nothing_costs_anything():
    usage = used(pictures=3)
    assert Prices({}).charged(usage) is usage


def test_units_are_the_fields_of_amounts():
    assert Amounts.__struct_fields__ == UNITS == (*COUNTED, "credits")


def test_settings_are_read_as_they_are_written(settings):
    found = settings(
        daily_quota="pictures=100, device_seconds=3600",
        monthly_quota="credits=2.5",
        prices="device_seconds=1,org/sd:pictures=0.5",
    )
    assert found.daily_quota == {"pictures": 100, "device_seconds": 3600}
    assert found.monthly_quota == {"credits": 2.5}
    assert found.prices == {"device_seconds": 1, "org/sd:pictures": 0.5}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("daily_quota", "pictures", "must be written as unit=number"),
        ("daily_quota", "photos=1", "unknown unit 'photos'"),
        ("monthly_quota", "pictures=-1", "must be a number of at least 0"),
        ("monthly_quota", "pictures=nan", "must be a number of at least 0"),
        ("prices", "credits=1", "unknown unit 'credits'"),
        ("prices", "sd:photos=1", "unknown unit 'photos'"),
        ("prices", "pictures=free", "must be a number of at least 0"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(settings, name, text, told):
    with pytest.raises(Exception, match=told):
        settings(**{name: text})


@pytest.mark.parametrize("value", [None, 3, ["pictures=1"]])
def test_only_texts_and_mappings_are_amounts(value):
    with pytest.raises(ValueError, match="must be written as"):
        parse_amounts(value)


def test_a_truth_value_is_no_amount():
    with pytest.raises(ValueError, match="a number"):
        parse_amounts({"pictures": True})


@pytest.mark.parametrize(("status", "credits"), [("ok", 2.0), ("cancelled", 0.0)])
def test_a_request_knows_what_it_was_charged(kit, status, credits):
    books = Books(kit.database, prices={"requests": 2})
    prepared = Prepared("w", FakeTask(), MODEL, FakeInput(), "key:1", Options("1"), 0.0)
    named = {"task": "fake", "model": MODEL.name, "key": MODEL.key, "priority": "interactive"}
    running = RunningRequests().enter("w", "1", "key:1", **named)
    books.ledger.ended(prepared, running, status)
    assert prepared.credits == credits
