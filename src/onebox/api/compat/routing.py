"""Route classes of the familiar routes: each answers errors in the shape of its server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import BaseModel
from starlette.requests import HTTPConnection

from onebox.api.compat.shapes import (
    DetailError,
    FieldError,
    PhotoError,
    detail_error,
    field_error,
    photo_error,
)
from onebox.api.forms import is_form
from onebox.api.routing import Route


class CompatRoute(Route):
    """One whose errors have the shape `shape`, which the API's pages know as `error_model`."""

    error_model: ClassVar[Any]

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        told = {"default": {"model": self.error_model, "description": "Any error."}}
        options["responses"] = {**told, **(options.get("responses") or {})}
        super().__init__(path, endpoint, **options)


class StudioRoute(CompatRoute):
    """`/api/…`."""

    error_model: ClassVar[type[BaseModel]] = DetailError

    @staticmethod
    def shape(body: dict[str, Any], connection: HTTPConnection) -> dict[str, Any]:
        return detail_error(body, connection)


class PromptRoute(CompatRoute):
    """`/local/generate`, and `/generate` for prompts alone."""

    error_model: ClassVar[type[BaseModel]] = FieldError

    @staticmethod
    def shape(body: dict[str, Any], connection: HTTPConnection) -> dict[str, Any]:
        return field_error(body, connection)


class PhotoRoute(CompatRoute):
    """`/generate` for photos alone."""

    error_model: ClassVar[type[BaseModel]] = PhotoError

    @staticmethod
    def shape(body: dict[str, Any], connection: HTTPConnection) -> dict[str, Any]:
        return photo_error(body, connection)


class GenerateRoute(CompatRoute):
    """`/generate` for both, told apart by what the body says it is."""

    error_model: ClassVar[Any] = FieldError | PhotoError

    @staticmethod
    def shape(body: dict[str, Any], connection: HTTPConnection) -> dict[str, Any]:
        return (photo_error if is_form(connection) else field_error)(body, connection)
