"""What is wrong with settings, in words: the setting, its value, where it stands, the remedy."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from onebox.core.settings_forms import project_root
from onebox.core.settings_sources import Written, field_of, names_of, places_of
from onebox.core.settings_table import default_text

MUST = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "byte_size": "must be a size such as 512MiB",
    "byte_size_unit": "must be a size such as 512MiB",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "tuple_type": "must be a list",
    "dict_type": "must be pairs such as a=b,c=d",
    "missing": "is missing",
    "extra_forbidden": "is not known",
}
SHOWN_CHARS = 64
# A password in a link, as in postgresql://user:password@host.
CREDENTIALS = re.compile(r"://[^/]*@")


def problems_of(error: ValidationError, environ: Mapping[str, str] = os.environ) -> list[str]:
    """One line for each problem."""
    root = project_root()
    return [_line(problem, root, environ) for problem in error.errors(include_url=False)]


def _line(problem: Any, root: Path, environ: Mapping[str, str]) -> str:
    what = _what(problem)
    loc = problem["loc"]
    found = field_of(str(loc[0])) if loc else None
    if found is None:
        return what
    field_name, field = found
    written = _written(field_name, problem["input"], len(loc) == 1, root, environ)
    name = written.name if written else names_of(field_name)[-1]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc[1:])
    value = _shown(problem["input"], field, nested=any(isinstance(part, str) for part in loc[1:]))
    place = f" (in {written.place})" if written else ""
    return f"{name}{path}{value}{place}: {what}; {_remedy(name, field)}"


def _what(problem: Any) -> str:
    bounds = {
        name: f"{value:g}" if isinstance(value, float) else value
        for name, value in (problem.get("ctx") or {}).items()
    }
    if problem["type"] in MUST:
        return MUST[problem["type"]].format(**bounds)
    return str(problem["msg"]).removeprefix("Value error, ")


def _written(
    field_name: str, value: Any, is_whole: bool, root: Path, environ: Mapping[str, str]
) -> Written | None:
    """Where the value stands; nowhere when it came with the command."""
    places = places_of(field_name, root, environ)
    if is_whole and isinstance(value, str | int | float):
        places = [place for place in places if str(place.value) == str(value)]
    return places[0] if places else None


def _shown(value: Any, field: FieldInfo, *, nested: bool) -> str:
    """`=value`, unless it may be or hold a secret; tables are too long."""
    if nested or "Secret" in str(field.annotation):
        return ""
    if not isinstance(value, str | int | float) or CREDENTIALS.search(str(value)):
        return ""
    if str(value).startswith(("[", "{")):
        return ""
    return f"={str(value)[:SHOWN_CHARS]}"


def _remedy(name: str, field: FieldInfo) -> str:
    default = default_text(field)
    if default:
        return f"correct it, or leave {name} out for {default}"
    return f"correct it, or leave {name} out"
