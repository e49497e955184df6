"""The settings as a Markdown table: `python -m onebox.core.settings_table` prints the README's."""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices
from pydantic_core import PydanticUndefined

from onebox.core.settings import Settings
from onebox.core.settings_jobs import JobSettings
from onebox.core.settings_runtime import RuntimeSettings

# Shown after all that are the server's own.
LATER = (JobSettings, RuntimeSettings)


def settings_table() -> str:
    """One row a setting: its names, its default, what it does."""
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    later = [name for part in LATER for name in part.model_fields]
    own = [name for name in Settings.model_fields if name not in later]
    for name in (*own, *later):
        field = Settings.model_fields[name]
        assert isinstance(field.validation_alias, AliasChoices)
        # The plain name is the one to use where there are two.
        shown = str(field.validation_alias.choices[-1])
        rows.append(f"| `{shown}` | {_default(field.default)} | {field.description} |")
    return "\n".join(rows)


def _default(value: Any) -> str:
    if value is PydanticUndefined or value is None or value == () or value == {}:
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    print(settings_table())
