"""Looks at every part of a JSON schema before anything is made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from onebox.language.grammars.schema_keywords import (
    ALONE,
    AT_ROOT,
    FORMATS,
    KNOWN,
    LISTS,
    MAPS,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_OPTIONAL,
    MAX_SCHEMAS,
    NOTES,
    TYPES,
    SchemaProblem,
    escape,
)
from onebox.language.grammars.schema_values import reason_against


def walk(schema: Any) -> None:
    """Look at every part of a schema. Raises SchemaProblem at the first that is not supported."""
    _check_size(schema)
    root = schema if isinstance(schema, dict) else {}
    pending: list[tuple[Any, str]] = [(schema, "")]
    count = 0
    while pending:
        part, pointer = pending.pop()
        count += 1
        if count > MAX_SCHEMAS:
            message = f"the schema has more than {MAX_SCHEMAS} parts"
            raise SchemaProblem("", pointer, message)
        if isinstance(part, bool):
            continue
        if not isinstance(part, dict):
            raise SchemaProblem("", pointer, "a schema must be an object or a boolean")
        _check_keywords(part, pointer)
        _check_values(part, pointer, root)
        pending.extend(_children(part, pointer))


def _check_size(schema: Any) -> None:
    pending: list[tuple[Any, int]] = [(schema, 1)]
    while pending:
        value, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise SchemaProblem("", "", f"the schema is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict | list):
            inner = value.values() if isinstance(value, dict) else value
            pending.extend((child, depth + 1) for child in inner)
    try:
        size = len(json.dumps(schema, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, TypeError) as error:  # a lone surrogate, NaN, or no JSON at all
        raise SchemaProblem("", "", "the schema is not valid JSON text") from error
    if size > MAX_BYTES:
        message = f"the schema has {size} bytes; at most {MAX_BYTES} are taken"
        raise SchemaProblem("", "", message)


def _check_keywords(part: dict[str, Any], pointer: str) -> None:
    for keyword in part:
        if keyword in NOTES or keyword.startswith("x-") or (keyword in AT_ROOT and not pointer):
            continue
        if keyword not in KNOWN:
            message = f"the keyword '{keyword}' is not supported"
            raise SchemaProblem(keyword, pointer, message)
    ruling = [keyword for keyword in ALONE if keyword in part]
    if not ruling:
        return
    allowed = {ruling[0], "type"} if ruling[0] in ("enum", "const") else {ruling[0]}
    for keyword in part:
        if keyword in KNOWN - allowed:
            message = f"'{keyword}' beside '{ruling[0]}' is not supported"
            raise SchemaProblem(keyword, pointer, message)


def _check_values(part: dict[str, Any], pointer: str, root: Mapping[str, Any]) -> None:
    for keyword, value in part.items():
        reason = reason_against(keyword, value, root)
        if reason:
            raise SchemaProblem(keyword, pointer, f"'{keyword}' {reason}")
    for keyword, message in _at_odds(part):
        raise SchemaProblem(keyword, pointer, message)


def _at_odds(part: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Keywords that are fine alone."""
    kinds = part.get("type", TYPES)
    if "string" in kinds and "format" in part:
        if part["format"] not in FORMATS:
            known = ", ".join(sorted(FORMATS))
            yield "format", f"the format '{part['format']}' is not supported; use one of {known}"
        for keyword in {"pattern", "minLength", "maxLength"} & part.keys():
            yield keyword, f"'{keyword}' beside 'format' is not supported"
    if "integer" in part.get("type", ()) and part.get("multipleOf", 1) % 1:
        yield "multipleOf", "'multipleOf' of an integer must be whole"
    optional = len(part.get("properties", {}).keys() - set(part.get("required", ())))
    if optional > MAX_OPTIONAL:
        yield "properties", f"'properties' has {optional} optional names; at most {MAX_OPTIONAL}"


def _children(part: dict[str, Any], pointer: str) -> Iterator[tuple[Any, str]]:
    for section in MAPS:
        for name, child in part.get(section, {}).items():
            yield child, f"{pointer}/{section}/{escape(name)}"
    for keyword in LISTS:
        for index, child in enumerate(part.get(keyword, ())):
            yield child, f"{pointer}/{keyword}/{index}"
    for keyword in ("items", "additionalProperties"):
        if keyword in part:
            yield part[keyword], f"{pointer}/{keyword}"
