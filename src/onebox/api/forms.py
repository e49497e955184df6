"""Multipart bodies: read, checked, shown on the API's pages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar, get_args, get_origin

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from onebox.api.bodies import described_body
from onebox.api.errors import located
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef

MULTIPART = "multipart/form-data"
# More than any client sends: of a name that is there twice the client should be told so.
MAX_FILES = 8
MAX_FIELDS = 256
# `include[]`, `include[0]` and `chunking_strategy[type]`.
BRACKETED = re.compile(r"^([^\[\]]+)\[([^\[\]]*)\]$")

ModelT = TypeVar("ModelT", bound=BaseModel)


async def read_form(request: Request, model: type[ModelT]) -> ModelT:
    """A form as the model.

    A list is a field that is repeated, with or without `[]` behind its name. A field without text
    is one that was left out. A file must be in a field for files.

    Raises InvalidInput, and RequestValidationError as FastAPI does.
    """
    if not is_form(request):
        raise InvalidInput(f"the body must be {MULTIPART}, such as `curl -F name=value` sends it")
    async with request.form(max_files=MAX_FILES, max_fields=MAX_FIELDS) as form:
        given = {
            name: await field_value(value) for name, value in _fields(form.multi_items(), model)
        }
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise located(error, "body") from error


def is_form(request: Request) -> bool:
    """Whether the request says that its body is one."""
    content_type = request.headers.get("content-type", "")
    return content_type.split(";")[0].strip().lower() == MULTIPART


def form_body(model: type[BaseModel]) -> dict[str, Any]:
    """What `openapi_extra` must hold for a route that reads this model as a form."""
    return described_body(model, MULTIPART)


def _fields(
    items: Iterable[tuple[str, UploadFile | str]], model: type[BaseModel]
) -> list[tuple[str, Any]]:
    """Each field with its value, its list of values or its part by name."""
    values: dict[str, list[Any]] = {}
    parts: dict[str, dict[str, Any]] = {}
    for full_name, value in items:
        name, part = _split(full_name)
        _refuse_wrong_kind(name, value, model)
        if value == "":
            continue
        if part is None:
            values.setdefault(name, []).append(value)
        elif part in parts.setdefault(name, {}) or name in values:
            raise InvalidInput(f"{full_name} was sent twice", param=name)
        else:
            parts[name][part] = value
    found = [(name, _only(name, given, model)) for name, given in values.items()]
    return found + [(name, given) for name, given in parts.items() if given]


def _split(name: str) -> tuple[str, str | None]:
    """The field, and the part of it that is meant, if its name says so."""
    match = BRACKETED.match(name)
    if match is None:
        return name, None
    return match[1], None if not match[2] or match[2].isdigit() else match[2]


def _only(name: str, given: list[Any], model: type[BaseModel]) -> Any:
    if name in model.model_fields and _is_list(model.model_fields[name].annotation):
        return given
    if len(given) > 1:
        raise InvalidInput(f"{name} was sent twice", param=name)
    return given[0]


def _is_list(annotation: Any) -> bool:
    return any(get_origin(kind) is list for kind in (annotation, *get_args(annotation)))


def _refuse_wrong_kind(name: str, value: UploadFile | str, model: type[BaseModel]) -> None:
    if name not in model.model_fields:
        # The model refuses it.
        return
    takes_file = model.model_fields[name].annotation is MediaRef
    if takes_file and not isinstance(value, UploadFile):
        raise InvalidInput(
            f"{name} must be a file, with a file name in its part: `curl -F {name}=@speech.wav`",
            param=name,
        )
    if isinstance(value, UploadFile) and not takes_file:
        raise InvalidInput(f"{name} must be text, not a file", param=name)


async def field_value(value: Any) -> Any:
    """A field's value: of a file a MediaRef with its bytes."""
    if not isinstance(value, UploadFile):
        return value
    media_type = value.content_type or "application/octet-stream"
    return MediaRef(media_type=media_type, data=await value.read())
