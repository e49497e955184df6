"""The settings as a Markdown table: `python -m onebox.core.settings_table` prints the README's.

With `--env` it prints `.env.example`.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from onebox.core.settings import Settings
from onebox.core.settings_compat import FAMILIES, CompatSettings
from onebox.core.settings_hooks import HookSettings
from onebox.core.settings_jobs import JobSettings
from onebox.core.settings_keys import KeySettings
from onebox.core.settings_limits import LimitSettings
from onebox.core.settings_observability import ObservabilitySettings
from onebox.core.settings_runtime import RuntimeSettings
from onebox.core.settings_upstreams import UpstreamSettings
from onebox.core.settings_usage import UsageSettings

# Shown after all that are the server's own.
LATER = (
    KeySettings,
    LimitSettings,
    UsageSettings,
    HookSettings,
    UpstreamSettings,
    CompatSettings,
    ObservabilitySettings,
    JobSettings,
    RuntimeSettings,
)


OWN = "The server: address, keys, models, logs"
LINE_CHARS = 98


def settings_table() -> str:
    """One row a setting: its names, its default, what it does."""
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for _, names in _groups():
        for name in names:
            field = Settings.model_fields[name]
            default = default_text(field)
            shown = f"`{default}`" if default else ""
            rows.append(f"| `{_written_name(field)}` | {shown} | {field.description} |")
    return "\n".join(rows)


def env_example() -> str:
    """An `.env` with every setting, commented out, with its default; secrets stay empty."""
    lines = [
        "# Every setting of Onebox, with its default. Copy this file to .env, and take the # away",
        "# before what you change. The environment is stronger than .env, .env than onebox.toml.",
        "# Made by `python -m onebox.core.settings_table --env`.",
    ]
    for title, names in _groups():
        lines += ["", "", f"# --- {title} ---"]
        for name in names:
            field = Settings.model_fields[name]
            about = " ".join((field.description or "").split())
            remark = textwrap.wrap(about, LINE_CHARS, initial_indent="# ", subsequent_indent="#   ")
            lines += ["", *remark, f"#{_written_name(field)}={default_text(field)}"]
        if "compat" in names:
            lines += _familiar_lines()
    return "\n".join(lines) + "\n"


def default_text(field: FieldInfo) -> str:
    """A default as it is written in the environment; empty where there is none."""
    value = field.default
    if value is PydanticUndefined or value is None or value == () or value == {}:
        return ""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _groups() -> Iterator[tuple[str, list[str]]]:
    """Titles and fields, the server's own first."""
    later = {name for part in LATER for name in part.model_fields}
    yield OWN, [name for name in Settings.model_fields if name not in later]
    for part in LATER:
        title = (part.__doc__ or "").split("\n")[0].rstrip(".")
        yield title, list(part.model_fields)


def _written_name(field: FieldInfo) -> str:
    """The plain name is the one to use where there are two."""
    assert isinstance(field.validation_alias, AliasChoices)
    return str(field.validation_alias.choices[-1])


def _familiar_lines() -> list[str]:
    lines = []
    for family, names in FAMILIES.items():
        lines += ["", f"# Other names, which count with ONEBOX_COMPAT={family} alone."]
        lines += [f"#{name}=" for name in names]
    return lines


if __name__ == "__main__":
    print(env_example() if "--env" in sys.argv else settings_table() + "\n", end="")
