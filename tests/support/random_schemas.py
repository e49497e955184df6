"""Random JSON schemas of the documented subset (docs/structured-output.md), from a seed."""

from __future__ import annotations

import random
from typing import Any

Schema = dict[str, Any]

NAMES = (
    *("name", "age", "city", "tags", "price", "is_open", "kind", "items", "note", "id", "größe"),
    *("first name", "a/b", "c~d", 'quo"te', "x", "y", "status", "count", "street", "email"),
)
WORDS = ("red", "green", "blue", "large", "näh", "o'clock", "two words", "", 'a "b"', "\\")
PATTERNS = ("^[a-z]{2,8}$", "^[A-Z]{3}-[0-9]{4}$", r"^\d{2}:\d{2}$", "^(yes|no|maybe)$", "^a.c$")
FORMATS = ("date", "date-time", "time", "ipv4", "uuid")


class RandomSchemas:
    """One schema after another; `depth` is how many lists and objects go inside each other.

    `stated` (0 to 1) is how often a list or string states its most.
    """

    def __init__(self, seed: int, *, depth: int = 3, stated: float = 0.7) -> None:
        self._random = random.Random(seed)
        self._depth = depth
        self._stated = stated

    def next(self) -> Schema:
        """An object at the root, sometimes with shared or recursive definitions."""
        schema = self._object(self._depth)
        style = self._random.random()
        if style < 0.1:
            schema = self._recursive()
        elif style < 0.25:
            definition = self._any(1)
            schema["properties"]["shared"] = {"$ref": "#/$defs/Shared"}
            schema["properties"]["again"] = {"$ref": "#/$defs/Shared"}
            schema["required"] = [*schema.get("required", []), "shared"]
            schema["$defs"] = {"Shared": definition}
        if self._random.random() < 0.3:
            schema["title"], schema["description"] = "Answer", "what is asked for"
        return schema

    def _any(self, depth: int) -> Schema:
        flat = [self._string, self._number, self._fixed, self._flag, self._or_null]
        if depth <= 0:
            return self._random.choice(flat)()
        nested = [self._object, self._list, self._tuple, self._map, self._choice]
        if self._random.random() < 0.55:
            return self._random.choice(flat)()
        return self._random.choice(nested)(depth - 1)

    def _object(self, depth: int) -> Schema:
        names = self._random.sample(NAMES, self._random.randint(1, 5))
        required = [name for name in names if self._random.random() < 0.7]
        properties = {name: self._any(depth - 1) for name in names}
        schema: Schema = {"type": "object", "properties": properties, "required": required}
        if self._random.random() < 0.7:
            schema["additionalProperties"] = False
        return schema

    def _list(self, depth: int) -> Schema:
        schema: Schema = {"type": "array", "items": self._any(depth)}
        if self._random.random() < self._stated:
            schema["maxItems"] = self._random.randint(0, 4)
        if self._random.random() < 0.4:
            schema["minItems"] = min(self._random.randint(0, 3), schema.get("maxItems", 3))
        return schema

    def _tuple(self, depth: int) -> Schema:
        parts = [self._any(depth) for _ in range(self._random.randint(1, 3))]
        return {"type": "array", "prefixItems": parts, "items": False, "minItems": len(parts)}

    def _map(self, depth: int) -> Schema:
        schema: Schema = {"type": "object", "additionalProperties": self._any(depth)}
        schema["maxProperties"] = self._random.randint(1, 3)
        if self._random.random() < 0.3:
            schema["minProperties"] = 1
        return schema

    def _choice(self, depth: int) -> Schema:
        if self._random.random() < 0.5:
            return {"anyOf": [self._any(depth) for _ in range(self._random.randint(1, 3))]}
        kinds = self._random.sample(("cat", "dog", "bird"), 2)
        return {"oneOf": [self._tagged(kind, depth) for kind in kinds]}

    def _tagged(self, kind: str, depth: int) -> Schema:
        properties = {"kind": {"const": kind}, "detail": self._any(depth - 1)}
        return {"type": "object", "properties": properties, "required": ["kind"]}

    def _string(self) -> Schema:
        style = self._random.random()
        if style < 0.15:
            return {"type": "string", "pattern": self._random.choice(PATTERNS)}
        if style < 0.3:
            return {"type": "string", "format": self._random.choice(FORMATS)}
        schema: Schema = {"type": "string"}
        if self._random.random() < self._stated:
            schema["maxLength"] = self._random.randint(1, 40)
        if self._random.random() < 0.3:
            schema["minLength"] = self._random.randint(0, schema.get("maxLength", 10))
        return schema

    def _number(self) -> Schema:
        schema: Schema = {"type": self._random.choice(["integer", "number"])}
        low = self._random.choice([-1000, -1.5, 0, 0.25, 3, 17])
        if self._random.random() < 0.6:
            schema[self._random.choice(["minimum", "exclusiveMinimum"])] = low
        if self._random.random() < 0.6:
            high = low + self._random.choice([2, 10, 99.5, 10**6])
            schema[self._random.choice(["maximum", "exclusiveMaximum"])] = high
        if self._random.random() < 0.2:
            schema["multipleOf"] = 0.5 if schema["type"] == "number" else 2
        return schema

    def _fixed(self) -> Schema:
        if self._random.random() < 0.3:
            return {"const": self._random.choice([*WORDS, 7, True, None, [1, {"a": []}]])}
        values: list[Any] = self._random.sample([*WORDS, 1, 2.5, False, None], 4)
        return {"enum": values}

    def _flag(self) -> Schema:
        return {"type": "boolean"}

    def _or_null(self) -> Schema:
        return {"type": [self._random.choice(["string", "integer"]), "null"]}

    def _recursive(self) -> Schema:
        node: Schema = {
            "type": "object",
            "properties": {
                "value": self._any(0),
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}, "maxItems": 2},
            },
            "required": ["value"],
            "additionalProperties": False,
        }
        return {
            "type": "object",
            "properties": {"tree": {"$ref": "#/$defs/Node"}},
            "required": ["tree"],
            "$defs": {"Node": node},
        }
