"""docs/metrics.md against what a server really counts, both ways."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.api.asking import build, tear_down

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `([a-z_]+)` \| (\w+) \| (.+?) \| (.+) \|$", re.MULTILINE)
# Everything that settings switch on.
EVERYTHING = {"compat": ("photo",)}


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    services = build(tmp_path_factory.mktemp("metrics"), **EVERYTHING)
    yield services.metrics
    tear_down(services)


def documented():
    return {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))
    }


def described(metrics):
    return {
        name: (each.kind, frozenset(each.labels)) for name, each in metrics.page.described.items()
    }


def test_every_metric_has_its_row_and_every_row_its_metric(metrics):
    assert documented() == described(metrics)


def test_every_metric_is_on_the_page_before_it_was_counted(metrics):
    shown = dict(re.findall(r"^# TYPE (\w+) (\w+)$", metrics.render().decode(), re.MULTILINE))
    made = re.compile(r"_created$")
    assert {name: kind for name, kind in shown.items() if not made.search(name)} == {
        name: kind for name, (kind, _) in documented().items()
    }


def test_what_is_on_the_page_has_the_labels_that_its_row_names(metrics):
    rows = documented()
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            base = re.sub(r"_(bucket|sum|count|created)$", "", sample.name)
            name = sample.name if sample.name in rows else base
            if name in rows:
                assert set(sample.labels) - {"le"} == rows[name][1], sample.name


@pytest.mark.parametrize("name", sorted(documented()))
def test_a_counters_name_says_so(name):
    kind, _ = documented()[name]
    assert name.endswith("_total") == (kind == "counter")
