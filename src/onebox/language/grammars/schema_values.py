"""What each keyword of a JSON schema may say: `reason(keyword, value, root)` tells why not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from onebox.language.grammars.schema_keywords import (
    COUNTS,
    LISTS,
    MAX_CHOICES,
    MAX_DECIMALS,
    MAX_ENUM,
    MAX_NAME,
    MAX_PATTERN,
    MAX_PROPERTIES,
    MAX_REPEAT,
    MAX_STEP,
    MAX_VALUE,
    NUMBERS,
    TYPES,
    definition_of,
)

LOOKING = re.compile(r"\(\?(?:[=!]|<[=!])|(?<!\\)(?:\\\\)*\\[1-9bBkAzZG]")
REPEAT = re.compile(r"\{(\d*)(,?)(\d*)\}")


def reason_against(keyword: str, value: Any, root: Mapping[str, Any]) -> str | None:
    """Why a keyword cannot have this value; None if it can."""
    if keyword in COUNTS:
        return _count_reason(value, COUNTS[keyword])
    if keyword in NUMBERS:
        return _number_reason(value, keyword)
    if keyword in LISTS:
        return _list_reason(value, keyword)
    if keyword == "$ref":
        return _ref_reason(value, root)
    if keyword in ("$defs", "definitions"):
        return None if isinstance(value, dict) else "must be an object"
    checks = {
        **{"type": _type_reason, "enum": _enum_reason, "const": _value_reason},
        **{"pattern": _pattern_reason, "format": _format_reason, "uniqueItems": _unique_reason},
        **{"required": _required_reason, "properties": _properties_reason},
    }
    return checks[keyword](value) if keyword in checks else None


def _unique_reason(value: Any) -> str | None:
    return None if value is False else "is not supported"


def _format_reason(value: Any) -> str | None:
    return None if isinstance(value, str) else "must be a string"


def _list_reason(value: Any, keyword: str) -> str | None:
    if not isinstance(value, list) or not value:
        return "must be a list of schemas"
    if len(value) > MAX_CHOICES:
        return f"has more than {MAX_CHOICES} schemas"
    return "is supported with one schema only" if keyword == "allOf" and value[1:] else None


def _number_reason(value: Any, keyword: str) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    return _step_reason(value) if keyword == "multipleOf" else None


def _step_reason(value: float) -> str | None:
    """Of `multipleOf`: the library's states grow with it."""
    sign, digits, exponent = Decimal(str(value)).normalize().as_tuple()
    fine = value > 0 and isinstance(exponent, int) and -MAX_DECIMALS <= exponent <= MAX_DECIMALS
    if not sign and fine and int("".join(map(str, digits))) <= MAX_STEP:
        return None
    return f"must be 1 to {MAX_STEP}, times a power of ten from -{MAX_DECIMALS} to {MAX_DECIMALS}"


def _count_reason(value: Any, most: int) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        return "must be a whole number"
    if value < 0:
        return "must not be negative"
    return f"must be at most {most}" if most and value > most else None


def _type_reason(value: Any) -> str | None:
    kinds = value if isinstance(value, list) and value else [value]
    return None if all(kind in TYPES for kind in kinds) else f"must be of {', '.join(TYPES)}"


def _enum_reason(value: Any) -> str | None:
    if not isinstance(value, list) or not value:
        return "must be a list of values"
    if len(value) > MAX_ENUM:
        return f"has more than {MAX_ENUM} values"
    return next(filter(None, map(_value_reason, value)), None)


def _value_reason(value: Any) -> str | None:
    long = len(json.dumps(value, ensure_ascii=False)) > MAX_VALUE
    return f"has a value of more than {MAX_VALUE} characters" if long else None


def _properties_reason(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "must be an object"
    if len(value) > MAX_PROPERTIES:
        return f"has more than {MAX_PROPERTIES} names"
    return _names_reason(value)


def _names_reason(names: Iterable[str]) -> str | None:
    long = any(len(name) > MAX_NAME for name in names)
    return f"has a name of more than {MAX_NAME} characters" if long else None


def _required_reason(value: Any) -> str | None:
    fine = isinstance(value, list) and all(isinstance(name, str) for name in value)
    if not fine:
        return "must be a list of names"
    return _names_reason(value) if len(value) <= MAX_PROPERTIES else "has too many names"


def _pattern_reason(value: Any) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > MAX_PATTERN:
        return f"is longer than {MAX_PATTERN} characters"
    if LOOKING.search(value):
        return "must do without look-around, back-references and word boundaries"
    for low, _, high in REPEAT.findall(value):
        if any(len(number) > 3 or int(number) > MAX_REPEAT for number in (low, high) if number):
            return f"repeats a part more than {MAX_REPEAT} times; use maxLength"
    return "counts repetitions inside of counted ones" if _counts_twice(value) else None


def _counts_twice(pattern: str) -> bool:
    """Whether a part that is repeated {n} times has such a part inside."""
    counted = [False]  # by open group
    plain = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "x", pattern)
    for token in re.findall(r"\(|\)(?:\{\d[^}]*\})?|\{\d[^}]*\}", plain):
        if token == "(":
            counted.append(False)
        elif token[0] == ")":
            inside = counted.pop() if len(counted) > 1 else False
            if inside and token != ")":
                return True
            counted[-1] |= inside or token != ")"
        else:
            counted[-1] = True
    return False


def _ref_reason(value: Any, root: Mapping[str, Any]) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    try:
        definition_of(value, root)
    except (KeyError, AttributeError, TypeError):
        return "must be '#', '#/$defs/NAME' or '#/definitions/NAME' of a definition in the schema"
    return None
