"""The JSON-schema keywords that an answer can be bound by, and how large a schema may be.

Pure Python. The table for readers is `docs/structured-output.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

MAX_DEPTH = 64  # of the JSON text of a schema, in brackets
MAX_BYTES = 262_144
MAX_SCHEMAS = 5_000
MAX_ENUM = 1_000  # values in one enum
MAX_VALUE = 1_000  # characters of JSON of one value of enum or const
MAX_CHOICES = 200  # schemas in one anyOf or oneOf
MAX_PROPERTIES = 500  # of one object
MAX_OPTIONAL = 100  # of them not required
MAX_NAME = 256  # characters of a property's name
MAX_PATTERN = 512  # characters
MAX_REPEAT = 256  # of a counted repetition inside a pattern
MAX_ITEMS = 1_000
MAX_DECIMALS = 6  # of multipleOf
MAX_STEP = 1_000  # digits of multipleOf, zeros at either end aside
MAX_LENGTH = 65_536  # characters of a string

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
# May stand anywhere and bind nothing.
NOTES = frozenset(
    {
        *("title", "description", "default", "example", "examples", "deprecated", "readOnly"),
        *("writeOnly", "discriminator", "contentEncoding", "contentMediaType", "$comment"),
        "$schema",
    }
)
AT_ROOT = frozenset({"$id", "$defs", "definitions"})
# Decides alone what a value is; beside it only notes may stand, and `type` beside enum and const.
ALONE = ("$ref", "enum", "const", "anyOf", "oneOf", "allOf")
KEYWORDS: Mapping[str, tuple[str, ...]] = {
    "object": (
        *("properties", "required", "additionalProperties"),
        *("minProperties", "maxProperties"),
    ),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": (
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("multipleOf", "format"),
    ),
}
KNOWN = frozenset({"type", *ALONE, *(keyword for kind in KEYWORDS for keyword in KEYWORDS[kind])})
FORMATS = frozenset(
    {"date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"}
)
COUNTS: Mapping[str, int] = {
    "minLength": MAX_LENGTH,
    "maxLength": 0,  # an upper bound may be any size: what is written is capped
    "minItems": MAX_ITEMS,
    "maxItems": 0,
    "minProperties": MAX_ITEMS,
    "maxProperties": 0,
}
NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
MAPS = ("properties", "$defs", "definitions")


class SchemaProblem(Exception):
    """A schema that cannot bind an answer: which keyword, where (a JSON pointer), and why."""

    def __init__(self, keyword: str, pointer: str, message: str) -> None:
        super().__init__(message)
        self.keyword = keyword
        self.pointer = pointer
        self.message = message


def escape(name: str) -> str:
    """A property name as one part of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def definition_of(ref: str, root: Mapping[str, Any]) -> Any:
    """What a local `$ref` points at. Raises KeyError where there is no such definition."""
    if ref == "#":
        return root
    for section in ("$defs", "definitions"):
        prefix = f"#/{section}/"
        if ref.startswith(prefix) and "/" not in ref[len(prefix) :]:
            name = unquote(ref[len(prefix) :]).replace("~1", "/").replace("~0", "~")
            return root.get(section, {})[name]
    raise KeyError(ref)
