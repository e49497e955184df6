"""Whether the schemas of a `oneOf` exclude each other, so that it means the same as `anyOf`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onebox.language.grammars.schema_keywords import (
    TYPES,
    definition_of,
)

MAX_HOPS = 32  # references followed from one schema to the next


def kind_of(value: Any) -> str:
    """The JSON type of a value; a whole number is an integer."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if value == int(value) else "number"
    kinds: dict[type, str] = {str: "string", list: "array", dict: "object", type(None): "null"}
    return kinds[type(value)]


def exclude_each_other(options: list[Any], root: Mapping[str, Any]) -> bool:
    """Whether no value can satisfy two of the schemas. May say False where it cannot tell."""
    resolved = [_resolve(option, root) for option in options]
    return all(
        _apart(one, other, root)
        for index, one in enumerate(resolved)
        for other in resolved[index + 1 :]
    )


def _resolve(schema: Any, root: Mapping[str, Any]) -> Any:
    for _ in range(MAX_HOPS):
        if not isinstance(schema, dict):
            break
        if "$ref" in schema:
            schema = definition_of(schema["$ref"], root)
        elif "allOf" in schema:
            schema = schema["allOf"][0]
        else:
            break
    return schema


def _values(schema: Any) -> list[Any] | None:
    if not isinstance(schema, dict):
        return None
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _kinds(schema: Any) -> set[str]:
    """The JSON types that its values can have; a number may be an integer."""
    values = _values(schema)
    if values is not None:
        return {kind_of(value) for value in values}
    named = schema.get("type", TYPES) if isinstance(schema, dict) else TYPES
    kinds = {named} if isinstance(named, str) else set(named)
    return kinds | {"integer"} if "number" in kinds else kinds


def _apart(one: Any, other: Any, root: Mapping[str, Any]) -> bool:
    common = _kinds(one) & _kinds(other)
    if not common:
        return True
    ours, theirs = _values(one), _values(other)
    if ours is not None and theirs is not None:
        return not any(
            value == taken and kind_of(value) == kind_of(taken)
            for value in ours
            for taken in theirs
            if not isinstance(value, dict | list)
        ) and not any(isinstance(value, dict | list) for value in ours)
    return common == {"object"} and _told_apart(one, other, root)


def _told_apart(one: Any, other: Any, root: Mapping[str, Any]) -> bool:
    """Whether both need a property that has fixed, different values in each."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    for name in set(one.get("required", ())) & set(other.get("required", ())):
        left, right = (
            _resolve(side.get("properties", {}).get(name), root) for side in (one, other)
        )
        ours, theirs = _values(left), _values(right)
        if ours is not None and theirs is not None and _apart(left, right, root):
            return True
    return False
