"""Where a setting was written, and which written names no setting has."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from onebox.core.settings import Settings
from onebox.core.settings_compat import FAMILIES
from onebox.core.settings_files import ENV_FILE, TOML_FILE, read_env, read_toml
from onebox.core.settings_forms import PREFIX

ENVIRONMENT = "the environment"
# Read elsewhere: by app.py and by plugins. The prefix of `ONEBOX_DEFAULT_<TASK>` is another one.
OTHER_NAMES = frozenset({"ONEBOX_TORCH_INDEX", "ONEBOX_SETUP_DONE", "ONEBOX_PLUGINS"})
PER_TASK = PREFIX + "DEFAULT_"
# How alike a name must be to be the one that was meant.
LIKENESS = 0.75


@dataclass(frozen=True, slots=True)
class Written:
    """A name and its value as written in one place."""

    name: str
    value: Any
    place: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A name that no setting has, and the one that was probably meant."""

    name: str
    place: str
    nearest: str | None

    def text(self) -> str:
        meant = f"; did you mean {self.nearest}?" if self.nearest else "; remove it"
        return f"{self.name} in {self.place} is no setting{meant}"


def names_of(field_name: str) -> tuple[str, ...]:
    """How a setting is written in the environment; the one to use is the last."""
    alias = Settings.model_fields[field_name].validation_alias
    assert isinstance(alias, AliasChoices)
    return tuple(str(choice) for choice in alias.choices)


def field_of(name: str) -> tuple[str, FieldInfo] | None:
    """The field that an environment name, or its own one, stands for."""
    for field_name, field in Settings.model_fields.items():
        if name == field_name or name in names_of(field_name):
            return field_name, field
    return None


def places_of(field_name: str, root: Path, environ: Mapping[str, str]) -> list[Written]:
    """All places where a setting is written, the strongest first."""
    names = [*names_of(field_name), *_familiar_names(field_name)]
    found = []
    for place, values in _sources(root, environ):
        wanted = [*names, field_name] if place.endswith(TOML_FILE) else names
        found += [Written(name, values[name], place) for name in wanted if name in values]
    return found


def unknown_names(root: Path, environ: Mapping[str, str] = os.environ) -> list[Unknown]:
    """Names that look like settings and are none: a typing error leaves a default in force."""
    known = {name for field in Settings.model_fields for name in names_of(field)}
    found = []
    for place, values in _sources(root, environ):
        in_toml = place.endswith(TOML_FILE)
        allowed = known | set(Settings.model_fields) if in_toml else known
        for name in values:
            if _is_unknown(name, allowed, in_toml=in_toml, in_file=place != ENVIRONMENT):
                found.append(Unknown(name, place, _nearest(name, allowed)))
    return found


def _is_unknown(name: str, known: set[str], *, in_toml: bool, in_file: bool) -> bool:
    if name in known or name in OTHER_NAMES or name.startswith(PER_TASK):
        return False
    if in_toml or name.startswith(PREFIX):
        return True
    # A file of ours may hold others' variables too, but hardly one that lacks our prefix alone.
    return in_file and PREFIX + name in known and not _is_familiar(name)


def _nearest(name: str, known: set[str]) -> str | None:
    if PREFIX + name in known:
        return PREFIX + name
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=LIKENESS)
    return found[0] if found else None


def _sources(root: Path, environ: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The strongest first. Names of variables are the same in small letters."""
    env_file, toml_file = root / ENV_FILE, root / TOML_FILE
    yield ENVIRONMENT, {name.upper(): value for name, value in environ.items()}
    yield str(env_file), {name.upper(): value for name, value in read_env(env_file).items()}
    yield str(toml_file), read_toml(toml_file)


def _is_familiar(name: str) -> bool:
    return any(name in names for names in FAMILIES.values())


def _familiar_names(field_name: str) -> list[str]:
    own = {name.removeprefix(PREFIX) for name in names_of(field_name)}
    return [
        name for names in FAMILIES.values() for name, meant in names.items() if own & set(meant)
    ]
