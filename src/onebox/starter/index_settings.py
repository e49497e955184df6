"""Which package index to ask: the one that pip would, from its files and the environment."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

DEFAULT_INDEX = "https://pypi.org/simple"
# Later ones win, as with pip; the environment (":env:") wins over every file.
_SECTIONS = ("global", "install", "download", ":env:")
_LINE = re.compile(r"(?P<section>[^.\s]+)\.(?P<key>[a-z-]+)=(?P<value>.+)")
_ASK_TIMEOUT_S = 60
# What pip calls it → what uv calls it; names of indexes (`name=URL`) are uv's alone.
_OF_UV = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "find-links": ("UV_FIND_LINKS",),
    "no-index": ("UV_NO_INDEX",),
}


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """Where packages come from.

    Attributes:
        indexes: simple indexes, the main one first; empty with `no-index`.
        find_links: further folders or pages with files.
        cert: a file with certificates to trust instead of the system's.
    """

    indexes: tuple[str, ...] = (DEFAULT_INDEX,)
    find_links: tuple[str, ...] = ()
    cert: str | None = None
    proxy: str | None = None


def read_index_settings(
    environment: Mapping[str, str] | None = None, ask_pip: Callable[[], str | None] | None = None
) -> IndexSettings:
    """What pip would use here; in an environment without pip (uv's), what uv's variables say."""
    environment = os.environ if environment is None else environment
    listing = (ask_pip or _pip_config)()
    values = _of_environment(environment) if listing is None else _of_listing(listing)
    no_index = values.get("no-index", "").lower() in ("1", "true", "yes", "on")
    main = values.get("index-url", DEFAULT_INDEX)
    indexes = () if no_index else (main, *values.get("extra-index-url", "").split())
    return IndexSettings(
        indexes=tuple(dict.fromkeys(indexes)),
        find_links=tuple(values.get("find-links", "").split()),
        cert=values.get("cert"),
        proxy=values.get("proxy"),
    )


def _pip_config() -> str | None:
    """The lines of `pip config list`, or None without pip."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ASK_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _of_listing(listing: str) -> dict[str, str]:
    """`global.index-url='https://…'` a line → values by key, the strongest section's."""
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in listing.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match and match["section"] in found:
            found[match["section"]][match["key"]] = _unquoted(match["value"])
    return {key: value for section in _SECTIONS for key, value in found[section].items()}


def _unquoted(value: str) -> str:
    try:
        return str(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return value


def _of_environment(environment: Mapping[str, str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for key, names in _OF_UV.items():
        for name in (*names, "PIP_" + key.upper().replace("-", "_")):
            if environment.get(name):
                parts = environment[name].replace(",", " ").split()
                values[key] = " ".join(re.sub(r"^[\w.-]+=(?=\w+:)", "", part) for part in parts)
    for key in ("cert", "proxy"):
        if environment.get(f"PIP_{key.upper()}"):
            values[key] = environment[f"PIP_{key.upper()}"]
    return values
