"""The parts of a narrowed schema that have no schemas of their own to look into, and their bounds.

Each gives None where no value can meet what is asked.
"""

from __future__ import annotations

import json
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from onebox.language.grammars.schema_keywords import (
    KEYWORDS,
    MAX_ITEMS,
    MAX_LENGTH,
)
from onebox.language.grammars.schema_oneof import kind_of

FREE_ITEMS = 64  # of a list or map whose schema states no most
FREE_LENGTH = 4096  # characters of a string whose schema states no most
FREE_KEY = 64  # characters of a name in a map
MAX_INTEGER = 2**53 - 1
MAX_NUMBER = 10**15
DECIMALS = 10
DIGITS = 15  # that a double keeps
FREE_MAP_KEY = rf"^[^\x00-\x1f\x7f]{{1,{FREE_KEY}}}$"

Schema = dict[str, Any]


def either(options: list[Schema | None]) -> Schema | None:
    left = [option for option in options if option is not None]
    return left[0] if len(left) == 1 else ({"anyOf": left} if left else None)


def kinds_of(schema: Schema) -> list[str] | None:
    """The types that a schema names, or the one that its keywords are about; None: any."""
    named = schema.get("type")
    if named is not None:
        kinds = [named] if isinstance(named, str) else list(dict.fromkeys(named))
        return [kind for kind in kinds if kind != "integer" or "number" not in kinds]
    for kind, keywords in KEYWORDS.items():
        if any(keyword in schema for keyword in keywords):
            return [kind]
    return None


def fixed(schema: Schema) -> Schema | None:
    """Of `enum` or `const`."""
    values = [schema["const"]] if "const" in schema else schema["enum"]
    if "type" in schema:
        kinds = kinds_of(schema) or []
        kinds = [*kinds, "integer"] if "number" in kinds else kinds
        values = [value for value in values if kind_of(value) in kinds]
    unique = {json.dumps(value): value for value in values}
    return {"enum": list(unique.values())} if unique else None


def map_of(values: Schema, schema: Schema) -> Schema | None:
    """An object of any names, with values of one kind."""
    least = int(schema.get("minProperties", 0))
    most = min(int(schema.get("maxProperties", FREE_ITEMS)), MAX_ITEMS)
    if least > most:
        return None
    if not most:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    return {
        "type": "object",
        "patternProperties": {FREE_MAP_KEY: values},
        "additionalProperties": False,
        "minProperties": least,
        "maxProperties": most,
    }


def string(schema: Schema) -> Schema | None:
    """A pattern or format is not given a length: the two together are slow to compute."""
    least = int(schema.get("minLength", 0))
    bound = "pattern" in schema or "format" in schema
    narrowed: Schema = {"type": "string"}
    narrowed |= {key: schema[key] for key in ("pattern", "format") if key in schema}
    if least or not bound:
        narrowed["minLength"] = least
    if "maxLength" in schema or not bound:
        asked = int(schema.get("maxLength", max(least, FREE_LENGTH)))
        narrowed["maxLength"] = min(asked, MAX_LENGTH)
        if least > asked:
            return None
    return narrowed


def number(schema: Schema, kind: str) -> Schema | None:
    """Whole steps between a least and a most, so that few digits are written.

    The steps near an open bound are wide enough that a double tells them from it.
    """
    largest = MAX_INTEGER if kind == "integer" else MAX_NUMBER
    step = _step(schema, kind)
    low = _edge(schema, "minimum", "exclusiveMinimum", step, -largest)
    high = _edge(schema, "maximum", "exclusiveMaximum", step, largest)
    if low > high:
        return None
    bounds = {"minimum": _plain(low), "maximum": _plain(high), "multipleOf": _plain(step)}
    return {"type": kind, **bounds}


def _step(schema: Schema, kind: str) -> Decimal:
    if "multipleOf" in schema:
        return Decimal(str(schema["multipleOf"]))
    if kind == "integer":
        return Decimal(1)
    opened = [abs(schema[k]) for k in ("exclusiveMinimum", "exclusiveMaximum") if k in schema]
    digits = max((len(str(int(bound))) for bound in opened), default=0)
    return Decimal(1).scaleb(-max(0, min(DECIMALS, DIGITS - digits)))


def _edge(schema: Schema, closed: str, opened: str, step: Decimal, outermost: int) -> Decimal:
    """The outermost step that is inside a bound, counted from 0."""
    exact, lower = Context(prec=400), outermost < 0
    rounding = ROUND_CEILING if lower else ROUND_FLOOR

    def inner(bound: Decimal) -> Decimal:
        return exact.multiply(exact.divide(bound, step).to_integral_value(rounding), step)

    edges = [inner(Decimal(outermost))]
    if closed in schema:
        edges.append(inner(Decimal(str(schema[closed]))))
    if opened in schema:
        bound = Decimal(str(schema[opened]))
        edge = inner(bound)
        if edge == bound:
            edge = exact.add(edge, step if lower else -step)
        edges.append(edge)
    return max(edges) if lower else min(edges)


def _plain(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)
