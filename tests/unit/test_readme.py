"""The README's table of settings is the one that the settings class gives."""

from __future__ import annotations

from pathlib import Path

from onebox.core.settings_table import settings_table

README = Path(__file__).parents[2] / "README.md"


def test_the_settings_table_is_true() -> None:
    begin, end = "<!-- settings: python -m onebox.core.settings_table -->\n", "\n<!-- /settings -->"
    text = README.read_text(encoding="utf-8")
    assert text.split(begin)[1].split(end)[0] == settings_table()
