"""Dashboard, alerts and their page speak of metrics and of alerts that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "onebox.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
TESTS = ROOT / "deploy" / "prometheus" / "alerts_test.yml"
PAGE = ROOT / "docs" / "observability.md"
METRICS = ROOT / "docs" / "metrics.md"
# All that has a name like our own.
OURS = re.compile(r"\b(?:onebox|http|rate_limit|ai_bg)_[a-z_]+\b")
ALERT = re.compile(r"- alert: (\w+)")


def known() -> set[str]:
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \|", METRICS.read_text("utf-8"), re.MULTILINE)
    series = {name for name, _ in rows}
    for name, kind in rows:
        if kind == "histogram":
            series |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    return series


def expressions(value: Any) -> Iterator[str]:
    """Of every panel, and of the variables."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("expr", "query") and isinstance(inner, str):
                yield inner
            else:
                yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


def test_the_dashboard_shows_metrics_that_there_are():
    found = list(expressions(json.loads(DASHBOARD.read_text("utf-8"))))
    assert len(found) > 20
    assert {name for text in found for name in OURS.findall(text)} <= known()


def test_the_panels_of_the_dashboard_have_ids_of_their_own():
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(ids) == len(set(ids)) > 0


def test_panels_say_that_their_legend_is_shown():
    # Grafana's schema wants it of each legend.
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    legends = [panel["options"]["legend"] for panel in panels if panel["type"] == "timeseries"]
    assert [legend for legend in legends if legend.get("showLegend") is not True] == []


def test_alerts_look_at_metrics_that_there_are():
    # Without what is said to people, and without the names of files.
    lines = re.sub(r"^\s*(?:summary|description):.*$", "", ALERTS.read_text("utf-8"), flags=re.M)
    assert set(OURS.findall(lines)) <= known()


def test_every_alert_has_a_test_and_says_on_the_page_what_to_do():
    alerts = set(ALERT.findall(ALERTS.read_text("utf-8")))
    assert alerts
    assert set(re.findall(r'alertname(?:: |=")(\w+)', TESTS.read_text("utf-8"))) == alerts
    assert set(re.findall(r"^\| `(Onebox\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)) == alerts
