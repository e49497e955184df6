"""Multipart bodies: read, checked, shown on the API's pages."""

from __future__ import annotations

import contextlib
import json
import types
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from fastapi import Request
from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic.fields import FieldInfo
from starlette.datastructures import FormData, UploadFile
from starlette.requests import HTTPConnection

from onebox.api.bodies import described_body
from onebox.api.deferring import read_form_wish
from onebox.api.errors import located
from onebox.api.form_names import Path, parsed_name, value_of
from onebox.api.given_picture import GivenPicture
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef

MULTIPART = "multipart/form-data"
# More than any client sends: of a name that is there twice the client should be told so.
MAX_FILES = 24
MAX_FIELDS = 256

ModelT = TypeVar("ModelT", bound=BaseModel)


async def read_form(request: Request, model: type[ModelT]) -> ModelT:
    """A form as the model.

    A list is a field that is repeated, with or without `[]` behind its name; objects are JSON, or
    fields such as `loras[0][model]`. A field without text is one that was left out. A file must be
    in a field for files.

    Raises InvalidInput, and RequestValidationError as FastAPI does.
    """
    async with opened_form(request) as form:
        given = await form_values(form, model)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise located(error, "body") from error


@contextlib.asynccontextmanager
async def opened_form(request: Request) -> AsyncIterator[FormData]:
    """The request's form, whose files are gone afterwards. Raises InvalidInput."""
    if not is_form(request):
        raise InvalidInput(f"the body must be {MULTIPART}, such as `curl -F name=value` sends it")
    async with request.form(max_files=MAX_FILES, max_fields=MAX_FIELDS) as form:
        yield await read_form_wish(request, form)


async def form_values(form: FormData, model: type[BaseModel]) -> dict[str, Any]:
    """What a form says, as the fields of the model want it; those that are none of it as well.

    Raises InvalidInput for a file that is not in a field for files.
    """
    given = {}
    for name, (field, values) in _fields(form.multi_items(), model).items():
        read = [(path, await _field_value(value)) for path, value in values]
        given[name] = _value(name, read, field)
    return given


def is_form(request: HTTPConnection) -> bool:
    """Whether the request says that its body is one."""
    content_type = request.headers.get("content-type", "")
    return content_type.split(";")[0].strip().lower() == MULTIPART


def form_body(model: type[BaseModel]) -> dict[str, Any]:
    """What `openapi_extra` must hold for a route that reads this model as a form."""
    return described_body(model, MULTIPART)


def _fields(
    items: Iterable[tuple[str, UploadFile | str]], model: type[BaseModel]
) -> dict[str, tuple[FieldInfo | None, list[tuple[Path, UploadFile | str]]]]:
    """Each name with the model's field of it and what was sent: where in it, and what."""
    known = _known_names(model)
    found: dict[str, tuple[FieldInfo | None, list[tuple[Path, UploadFile | str]]]] = {}
    for full_name, value in items:
        name, path = parsed_name(full_name)
        field = known.get(name)
        if field is not None:
            _refuse_wrong_kind(name, value, field)
        if value != "":
            found.setdefault(name, (field, []))[1].append((path, value))
    return found


def _known_names(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The model's fields by their names and by those that stand for them."""
    known = dict(model.model_fields)
    for field in model.model_fields.values():
        alias = field.validation_alias
        names = alias.choices if isinstance(alias, AliasChoices) else [alias]
        known |= {name: field for name in names if isinstance(name, str)}
    return known


def _refuse_wrong_kind(name: str, value: UploadFile | str, field: FieldInfo) -> None:
    kinds = set(kinds_of(field.annotation))
    if MediaRef in kinds and not isinstance(value, UploadFile):
        raise InvalidInput(
            f"{name} must be a file, with a file name in its part: `curl -F {name}=@file`",
            param=name,
        )
    if isinstance(value, UploadFile) and not _takes_files(kinds):
        raise InvalidInput(f"{name} must be text, not a file", param=name)


async def _field_value(value: Any) -> Any:
    """A field's value: of a file a MediaRef with its bytes."""
    if not isinstance(value, UploadFile):
        return value
    media_type = value.content_type or "application/octet-stream"
    return MediaRef(media_type=media_type, data=await value.read())


def _value(name: str, given: list[tuple[Path, Any]], field: FieldInfo | None) -> Any:
    """What was sent under a name, as the field wants it."""
    kinds = set(kinds_of(field.annotation)) if field else set()
    if _takes_objects(kinds):
        given = [(path, _from_json(value)) for path, value in given]
    value = value_of(name, given, is_list=list in kinds)
    # A list that was sent as JSON.
    if list in kinds and len(value) == 1 and isinstance(value[0], list):
        return value[0]
    return value


def kinds_of(annotation: Any) -> Iterator[Any]:
    """What a field's value may be, and what it may hold where that is `list`."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType, list, Annotated):
        if origin is list:
            yield list
        inner = get_args(annotation)
        for kind in inner[:1] if origin is Annotated else inner:
            yield from kinds_of(kind)
    else:
        yield origin or annotation


def _takes_objects(kinds: set[Any]) -> bool:
    return any(
        isinstance(kind, type) and issubclass(kind, dict | BaseModel) for kind in kinds
    ) and not _takes_files(kinds)


def _takes_files(kinds: set[Any]) -> bool:
    return any(
        isinstance(kind, type) and issubclass(kind, MediaRef | GivenPicture) for kind in kinds
    )


def _from_json(value: Any) -> Any:
    """Text that is JSON as what it says; any other as it is, for the model to refuse."""
    if not isinstance(value, str) or value[0] not in "[{":
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
