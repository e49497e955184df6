"""Names of a form's fields that say more than the field: `include[]`, `loras[0][model]`."""

from __future__ import annotations

import re
from typing import Any

from onebox.core.errors import InvalidInput

NAME = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")
PART = re.compile(r"\[([^\[\]]*)\]")

# What stands in the brackets behind a name, from left to right.
Path = tuple[str, ...]


def parsed_name(name: str) -> tuple[str, Path]:
    """The field, and the part of it that is meant, if its name says so."""
    match = NAME.match(name)
    if match is None:
        return name, ()
    return match[1], tuple(PART.findall(match[2]))


def value_of(name: str, given: list[tuple[Path, Any]], *, is_list: bool) -> Any:
    """One value, a list, an object by the names of its parts, or a list of such objects.

    Raises InvalidInput when the names do not fit together.
    """
    forms = {tuple(_is_index(part) for part in path) for path, _ in given}
    if forms <= {(), (True,)}:
        return _plain(name, [value for _, value in given], is_list)
    if forms == {(False,)}:
        return _object(name, given)
    if forms == {(True, False)}:
        return _objects(name, given)
    raise InvalidInput(f"{name} cannot be read: send it as JSON text", param=name)


def _is_index(part: str) -> bool:
    return not part or part.isdigit()


def _plain(name: str, values: list[Any], is_list: bool) -> Any:
    if is_list:
        return values
    if len(values) > 1:
        raise InvalidInput(f"{name} was sent twice", param=name)
    return values[0]


def _object(name: str, given: list[tuple[Path, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for (part,), value in given:
        if part in found:
            raise InvalidInput(f"{name}[{part}] was sent twice", param=name)
        found[part] = value
    return found


def _objects(name: str, given: list[tuple[Path, Any]]) -> list[dict[str, Any]]:
    """Of `name[][part]`, as OpenAI's client sends them, the n-th is that of the n-th object."""
    objects: dict[str, dict[str, Any]] = {}
    for (index, part), value in given:
        key = index or f"#{sum(part in found for found in objects.values())}"
        found = objects.setdefault(key, {})
        if part in found:
            raise InvalidInput(f"{name}[{index}][{part}] was sent twice", param=name)
        found[part] = value
    counted = [found.keys() for key, found in objects.items() if key.startswith("#")]
    if any(parts != counted[0] for parts in counted):
        raise InvalidInput(
            f"{name}[] cannot be told apart when one lacks a part that another has: send "
            f"{name} as JSON text",
            param=name,
        )
    return list(objects.values())
