"""The schema that a grammar is made of: a narrower one, where nothing can go on for ever.

Every value it allows, the asked schema allows too. What the asked one leaves open gets a bound:
a small model that may write another digit, item or bracket often writes it until it is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from onebox.language.grammars.schema_keywords import (
    LISTS,
    MAX_ITEMS,
    SchemaProblem,
    definition_of,
    escape,
)
from onebox.language.grammars.schema_oneof import exclude_each_other
from onebox.language.grammars.schema_parts import (
    FREE_ITEMS,
    Schema,
    either,
    fixed,
    kinds_of,
    map_of,
    number,
    string,
)

FREE_DEPTH = 5  # levels of lists and maps in a value of any kind
MAX_RECURSION = 5  # times that a schema which refers to itself is entered
MAX_PARTS = 10_000  # once references are followed
MAX_PATH = 96  # schemas inside each other once references are followed


@dataclass(frozen=True, slots=True)
class Place:
    """Where one is in a schema; `level` counts the entries into parts that refer to themselves."""

    pointer: str = ""
    depth: int = 0
    level: int = 0

    def at(self, part: str) -> Place:
        return replace(self, pointer=f"{self.pointer}/{part}", depth=self.depth + 1)


class Finite:
    """Narrows schemas; their shared parts are gathered in `definitions`, to be put in `$defs`."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._root: Schema = {}
        self._known: dict[tuple[str, int], Schema | None] = {}
        self._recursive: dict[str, bool] = {}
        self._size = 0

    def narrow(self, schema: Any) -> Schema:
        """One checked schema. Raises SchemaProblem if no finite value can satisfy it."""
        self._root = schema if isinstance(schema, dict) else {}
        self._known, self._recursive = {}, {}
        narrowed = self._build(schema, Place())
        if narrowed is None:
            message = f"no value of at most {MAX_RECURSION} levels of recursion can satisfy it"
            raise SchemaProblem("", "", message)
        return narrowed

    def any_value(self, depth: int = FREE_DEPTH) -> Schema:
        """JSON of any kind, with lists and maps to a depth."""
        name = f"any{depth}"
        if name not in self.definitions:
            kinds = [string({}), number({}, "number"), {"type": "boolean"}, {"type": "null"}]
            if depth:
                inner = self.any_value(depth - 1)
                kinds.append({"type": "array", "items": inner, "maxItems": FREE_ITEMS})
                kinds.append(map_of(inner, {}))
            self.definitions[name] = {"anyOf": kinds}
        return {"$ref": f"#/$defs/{name}"}

    def any_object(self) -> Schema:
        return map_of(self.any_value(FREE_DEPTH - 1), {}) or {}

    def _build(self, schema: Any, place: Place) -> Schema | None:
        self._size += 1
        if place.depth > MAX_PATH or self._size > MAX_PARTS:
            message = "the schema is too large once its references are followed"
            raise SchemaProblem("$ref", place.pointer, message)
        if isinstance(schema, bool):
            return self.any_value() if schema else None
        if "$ref" in schema:
            return self._reference(schema["$ref"], place)
        if "enum" in schema or "const" in schema:
            return fixed(schema)
        for keyword in ("anyOf", "oneOf", "allOf"):
            if keyword in schema:
                return self._choice(keyword, schema[keyword], place)
        kinds = kinds_of(schema)
        if kinds is None:
            return self.any_value()
        return either([self._typed(kind, schema, place) for kind in kinds])

    def _choice(self, keyword: str, options: list[Any], place: Place) -> Schema | None:
        if keyword == "oneOf" and not exclude_each_other(options, self._root):
            message = "'oneOf' is supported only where its schemas exclude each other; use 'anyOf'"
            raise SchemaProblem("oneOf", place.pointer, message)
        places = [place.at(f"{keyword}/{index}") for index in range(len(options))]
        return either([self._build(*pair) for pair in zip(options, places, strict=True)])

    def _typed(self, kind: str, schema: Schema, place: Place) -> Schema | None:
        if kind == "object":
            return self._object(schema, place)
        if kind == "array":
            return self._array(schema, place)
        if kind == "string":
            return string(schema)
        return number(schema, kind) if kind in ("integer", "number") else {"type": kind}

    def _reference(self, ref: str, place: Place) -> Schema | None:
        if ref not in self._recursive:
            self._recursive[ref] = self._reaches_itself(ref)
        level = place.level + self._recursive[ref]
        if level > MAX_RECURSION:
            return None
        if (ref, level) not in self._known:
            inside = Place(ref[1:], place.depth + 1, level)
            built = self._build(definition_of(ref, self._root), inside)
            if built is not None and "$ref" not in built:
                name = f"d{len(self.definitions)}"
                self.definitions[name] = built
                built = {"$ref": f"#/$defs/{name}"}
            self._known[ref, level] = built
        return self._known[ref, level]

    def _reaches_itself(self, ref: str) -> bool:
        seen: set[str] = set()
        pending = {ref}
        while pending:
            inside = _references(definition_of(pending.pop(), self._root))
            if ref in inside:
                return True
            pending |= inside - seen
            seen |= inside
        return False

    def _array(self, schema: Schema, place: Place) -> Schema | None:
        least = int(schema.get("minItems", 0))
        most = min(int(schema.get("maxItems", max(FREE_ITEMS, least))), MAX_ITEMS)
        prefix: list[Schema] = []
        for index, part in enumerate(schema.get("prefixItems", ())[:most]):
            built = self._build(part, place.at(f"prefixItems/{index}"))
            if built is None:
                most = index
                break
            prefix.append(built)
        rest = schema.get("items", "prefixItems" not in schema)
        items = self._build(rest, place.at("items")) if len(prefix) < most else None
        if items is None:
            most = len(prefix)
        if least > most:
            return None
        narrowed: Schema = {"type": "array", "minItems": least, "maxItems": most}
        narrowed |= {"prefixItems": prefix} if prefix else {}
        return {**narrowed, "items": False if items is None else items}

    def _object(self, schema: Schema, place: Place) -> Schema | None:
        listed: Schema = schema.get("properties", {})
        required = list(dict.fromkeys(schema.get("required", ())))
        rest = schema.get("additionalProperties", not listed)
        named = dict(listed)
        for name in required:
            named.setdefault(name, schema.get("additionalProperties", True))
        properties = {
            name: self._build(part, place.at(f"properties/{escape(name)}"))
            for name, part in named.items()
        }
        if any(properties[name] is None for name in required):
            return None
        others = self._build(rest, place.at("additionalProperties"))
        if None in properties.values():
            others = None  # else a name that may have no value would be among them
        made = {name: part for name, part in properties.items() if part is not None}
        _check_counts(schema, len(made) - len(required), len(required), place)
        return _object_of(schema, made, required, others)


def _check_counts(schema: Schema, optional: int, required: int, place: Place) -> None:
    for keyword in ("minProperties", "maxProperties"):
        if keyword in schema and optional:
            message = f"'{keyword}' is supported only where every listed property is required"
            raise SchemaProblem(keyword, place.pointer, message)
    if schema.get("minProperties", 0) > required + 1:
        message = f"'minProperties' is supported up to {required + 1} here: one beyond the listed"
        raise SchemaProblem("minProperties", place.pointer, message)


def _object_of(
    schema: Schema, properties: Schema, required: list[str], others: Schema | None
) -> Schema | None:
    if others is not None and not properties:
        return map_of(others, schema)
    least, count = int(schema.get("minProperties", 0)), len(properties)
    most = min(int(schema.get("maxProperties", count + FREE_ITEMS)), count + MAX_ITEMS)
    if most < len(required) or (others is None and least > count):
        return None
    narrowed: Schema = {"type": "object", "properties": properties, "required": required}
    if others is None or most == len(required):
        return {**narrowed, "additionalProperties": False}
    narrowed["additionalProperties"] = others
    if count == len(required):
        narrowed |= {"minProperties": max(least, count), "maxProperties": most}
    return narrowed


def _references(schema: Any) -> set[str]:
    """Every `$ref` inside a schema, but for those of definitions beside it."""
    found: set[str] = set()
    pending: list[Any] = [schema]
    while pending:
        part = pending.pop()
        if not isinstance(part, dict):
            continue
        if "$ref" in part:
            found.add(part["$ref"])
        for keyword in LISTS:
            pending.extend(part.get(keyword, ()))
        pending.extend(part.get("properties", {}).values())
        pending.extend(part[k] for k in ("items", "additionalProperties") if k in part)
    return found
