"""The two files in the project root that settings may come from, and what makes them unreadable."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from onebox.core.errors import ConfigurationError

ENV_FILE = ".env"
TOML_FILE = "onebox.toml"


def check_files(root: Path) -> None:
    """Raises ConfigurationError that names the file, the line and what to do."""
    _check_env(root / ENV_FILE)
    read_toml(root / TOML_FILE)


def read_env(path: Path) -> Mapping[str, str | None]:
    """The variables of an `.env` file; none where there is none."""
    return dotenv_values(path) if path.is_file() else {}


def variables(root: Path) -> dict[str, str | None]:
    """Those of the environment, and those of `.env` that it does not have."""
    return {**read_env(root / ENV_FILE), **os.environ}


def read_toml(path: Path) -> Mapping[str, Any]:
    """The values of a TOML file; none where there is none. Raises ConfigurationError."""
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"{path} is not valid TOML: {error}; correct that line (texts need quotes, tables "
            "such as [[upstream]] come after all plain values)"
        ) from error


def _check_env(path: Path) -> None:
    if not path.is_file():
        return
    _text(path)
    with path.open(encoding="utf-8") as stream:
        wrong = [str(part.original.line) for part in parse_stream(stream) if part.error]
    if wrong:
        # Not the line itself: it may be a secret.
        raise ConfigurationError(
            f"{path}, line {', '.join(wrong[:5])}: not NAME=value; correct it, close what was "
            "quoted, or begin a remark with #"
        )


def _text(path: Path) -> str:
    """Raises ConfigurationError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}; let the user of this server read it, or "
            "move it away"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            f"{path}, line {line}: not UTF-8; save the file as UTF-8"
        ) from error
