"""How settings are written in the environment, and where the project's own folder is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

PREFIX = "ONEBOX_"
ROOT_VARIABLE = "ONEBOX_ROOT"


def project_root() -> Path:
    """Folder that relative paths resolve from:

    `ONEBOX_ROOT`, else the checkout, else the current folder.
    """
    if ROOT_VARIABLE in os.environ:
        return Path(os.environ[ROOT_VARIABLE]).resolve()
    checkout = Path(__file__).resolve().parents[3]
    return checkout if (checkout / "app.py").is_file() else Path.cwd()


def split_list(value: Any) -> Any:
    """'a, b' → ['a', 'b'], as lists are written in the environment."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def split_pairs(value: Any) -> Any:
    """'a=b, c=d' → {'a': 'b', 'c': 'd'}. Raises ValueError for a part that is no pair."""
    if not isinstance(value, str):
        return value
    pairs = {}
    for part in split_list(value):
        name, _, meant = (each.strip() for each in part.partition("="))
        if not (name and meant):
            raise ValueError(f"{part[:100]!r} must be written as name=value")
        pairs[name] = meant
    return pairs


StrTuple = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_list)]
SecretTuple = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(split_list)]
PathTuple = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(split_list)]
StrMap = Annotated[dict[str, str], NoDecode, BeforeValidator(split_pairs)]


def plain(name: str) -> AliasChoices:
    """A setting known under its plain name and with the prefix; the prefixed one wins."""
    return AliasChoices(PREFIX + name, name)


def prefixed(name: str) -> AliasChoices:
    return AliasChoices(PREFIX + name)
