"""JSON bodies of routes that take the plain request: read, checked, shown on the API's pages."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from onebox.api.errors import located

JSON = "application/json"

ModelT = TypeVar("ModelT", bound=BaseModel)


async def read_json(request: Request, model: type[ModelT]) -> ModelT:
    """Raises RequestValidationError as FastAPI does."""
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        raise located(error, "body") from error


def filled(model: type[ModelT], **values: Any) -> ModelT:
    """A task's input of what a body said. What the task refuses is the client's error."""
    try:
        return model(**values)
    except ValidationError as error:
        raise located(error, "body") from error


def json_body(model: type[BaseModel], *further: str) -> dict[str, Any]:
    """What `openapi_extra` must hold for a route that reads this model, as JSON and `further`."""
    return described_body(model, JSON, *further)


def described_body(model: type[BaseModel], *media_types: str) -> dict[str, Any]:
    """The same for a route that reads it in these forms alone."""
    schema = model.model_json_schema()
    # The page has no place for definitions inside of a body.
    schema = _inlined(schema, schema.pop("$defs", {}))
    content = {media_type: {"schema": schema} for media_type in media_types}
    return {"requestBody": {"required": True, "content": content}}


def header_parameter(name: str, description: str) -> dict[str, Any]:
    """What `openapi_extra` must hold for a route that looks at this header itself."""
    schema = {"type": "string"}
    told = {"name": name, "in": "header", "description": description, "schema": schema}
    return {"parameters": [told]}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """With each reference replaced by what it refers to. No model of ours refers to itself."""
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        schema = {**definitions[name], **{k: v for k, v in schema.items() if k != "$ref"}}
    return {key: _inlined(value, definitions) for key, value in schema.items()}
