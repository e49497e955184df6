"""Whether this interpreter has everything already: pyproject.toml is the only list there is."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from typing import Callable, Iterable, Sequence

Version = Callable[[str], str]


def missing(
    root: Path, extras: Sequence[str] = (), version: Version = importlib.metadata.version
) -> list[str]:
    """The requirements that are absent or below their floor; imports none. Needs Python 3.11."""
    return [text for text in declared(root, extras) if not _is_met(text, version)]


def declared(root: Path, extras: Sequence[str] = ()) -> list[str]:
    """The project's requirements, without those that hold on some systems only."""
    import tomllib  # 3.11: callers on older Pythons never get this far

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups: Iterable[list[str]] = (
        project["dependencies"],
        *(project["optional-dependencies"][extra] for extra in extras),
    )
    return [text for group in groups for text in group if ";" not in text]


def _is_met(requirement: str, version: Version) -> bool:
    name = re.split(r"[\[<>=!~ ]", requirement, maxsplit=1)[0]
    floor = re.search(r">=\s*([0-9.]+)", requirement)
    try:
        installed = version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return floor is None or _release(installed) >= _release(floor.group(1))


def _release(version: str) -> tuple[int, ...]:
    """Enough of PEP 440 to compare with a floor: 2.13.0+cpu -> (2, 13), trailing zeros dropped."""
    match = re.match(r"[0-9.]+", version)
    numbers = [int(part) for part in match.group().split(".") if part] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
