"""JSON schemas from clients: which are taken, said before anything is queued. Free of torch."""

from __future__ import annotations

from typing import Any, NoReturn

from onebox.core.errors import InvalidInput
from onebox.language.grammars.schema_finite import Finite
from onebox.language.grammars.schema_keywords import (
    SchemaProblem,
)
from onebox.language.grammars.schema_parts import Schema
from onebox.language.grammars.schema_walk import walk


def check_schema(schema: Any, param: str) -> None:
    """Whether answers can be bound to a schema.

    Raises:
        InvalidInput: no; `details` has the `keyword` and, as a JSON pointer, the place.
    """
    narrow(Finite(), schema, param)


def narrow(maker: Finite, schema: Any, param: str) -> Schema:
    """A schema as the grammar takes it. Raises InvalidInput as `check_schema`."""
    try:
        walk(schema)
        return maker.narrow(schema)
    except SchemaProblem as problem:
        refuse(problem, param)


def refuse(problem: SchemaProblem, param: str) -> NoReturn:
    where = f" at {problem.pointer}" if problem.pointer else ""
    message = f"'{param}' has a JSON schema that answers cannot be bound to: {problem.message}"
    details = {"keyword": problem.keyword, "pointer": problem.pointer}
    raise InvalidInput(f"{message}{where}.", param=param, details=details) from problem
