"""The shapes in which the familiar routes' errors leave: those of the servers they stand for.

Each is made of our own shape (api/error_shape), whose code, status and message it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import HTTPConnection

from onebox.api.error_shape import PROBLEM

# Codes that have a name of their own there, by status or by our code.
DETAIL_CODES: Mapping[int | str, str] = {
    413: "FILE_SIZE_ERROR",
    422: "VALIDATION_ERROR",
    502: "HUGGINGFACE_API_ERROR",
    504: "TIMEOUT_ERROR",
    "rate_limit_exceeded": "RATE_LIMIT_ERROR",
}
FIELD_CODES: Mapping[int | str, str] = {
    404: "NOT_FOUND",
    504: "TIMEOUT",
    "missing_required_parameter": "MISSING_REQUIRED_FIELD",
}
INVALID_TYPE = "INVALID_TYPE"
# How pydantic's names for a value of another type end: `string_type`, `int_parsing`.
OF_TYPES = ("_type", "_parsing")
# What the tasks call otherwise.
FIELDS = {"messages": "prompt"}


class DetailError(BaseModel):
    """Every error of `/api/…`."""

    detail: str
    error_code: str
    status_code: int


class FieldDetail(BaseModel):
    code: str
    message: str
    status: int
    field: str | None
    details: dict[str, Any]


class FieldError(BaseModel):
    """Every error of the prompts' `/generate` and `/local/generate`."""

    error: FieldDetail


class PhotoError(BaseModel):
    """Every error of the photos' `/generate`."""

    success: Literal[False]
    error: str
    error_code: str
    status_code: int
    path: str


class TryOnError(DetailError):
    """Every error of `/api/v1/create-image` and `/media/…`."""

    status: Literal["error"]


def detail_error(body: dict[str, Any], connection: HTTPConnection) -> dict[str, Any]:
    error = body["error"]
    code = _code(error, DETAIL_CODES)
    return {"detail": error["message"], "error_code": code, "status_code": error["status"]}


def try_on_error(body: dict[str, Any], connection: HTTPConnection) -> dict[str, Any]:
    return {"status": "error", **detail_error(body, connection)}


def field_error(body: dict[str, Any], connection: HTTPConnection) -> dict[str, Any]:
    error = body["error"]
    code = _code(error, FIELD_CODES)
    if code == "INVALID_VALUE" and connection.scope.get(PROBLEM, "").endswith(OF_TYPES):
        code = INVALID_TYPE
    told = {
        "code": code,
        "message": error["message"],
        "status": error["status"],
        "field": FIELDS.get(error["param"], error["param"]),
        "details": error["details"],
    }
    return {"error": told}


def photo_error(body: dict[str, Any], connection: HTTPConnection) -> dict[str, Any]:
    error = body["error"]
    return {
        "success": False,
        "error": error["message"],
        "error_code": _code(error, DETAIL_CODES),
        "status_code": error["status"],
        "path": connection.scope["path"],
    }


def _code(error: dict[str, Any], names: Mapping[int | str, str]) -> str:
    own: str = error["code"]
    return names.get(own) or names.get(error["status"]) or own.upper()
