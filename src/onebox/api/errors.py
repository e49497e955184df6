"""The one table from errors to HTTP."""

from __future__ import annotations

import json
import math
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from onebox.api.error_shape import ERROR_CODE, PROBLEM, error_body
from onebox.core import errors

log = structlog.get_logger(__name__)

STATUSES: dict[type[errors.AppError], int] = {
    errors.AppError: 500,
    errors.InvalidInput: 422,
    errors.ContextOverflow: 422,
    errors.TaskNotSupported: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.ModelNotAllowed: 403,
    errors.InsufficientCredits: 403,
    errors.RateLimited: 429,
    errors.QuotaExceeded: 429,
    errors.BackendUnavailable: 503,
    errors.UpstreamFailed: 502,
    errors.UpstreamTimeout: 504,
    errors.UpstreamLoop: 508,
    errors.KeyNotFound: 404,
    errors.ModelNotFound: 404,
    errors.FileNotFound: 404,
    errors.RequestNotFound: 404,
    errors.RequestIdTaken: 409,
    errors.ResultNotReady: 409,
    errors.ModelBroken: 422,
    errors.ModelBusy: 409,
    errors.ModelUnloaded: 503,
    errors.PayloadTooLarge: 413,
    errors.QueueFull: 429,
    errors.ConcurrencyLimited: 429,
    errors.ModelTooLarge: 507,
    errors.StorageFull: 507,
    errors.OutOfMemory: 503,
    errors.WorkerLost: 503,
    errors.WorkerUnready: 503,
    errors.ShuttingDown: 503,
    errors.DeadlineExceeded: 504,
    errors.Cancelled: 499,
    errors.InferenceFailed: 500,
}
# What the OpenAI routes answer where the native ones say 422.
OPENAI_INVALID_STATUS = 400
# Asking again cannot help or would do harm, so clients that retry by themselves are told not to.
NO_RETRY = frozenset({409, 499, 500, 504, 507, 508})
HTTP_CODES = {
    404: "route_not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    416: "range_not_satisfiable",
}
RECEIVED_CHARS = 200
FIELD_CHARS = 100
# What pydantic calls the bounds of a field, and what a client is told.
BOUNDS = {
    "ge": "min",
    "gt": "more_than",
    "le": "max",
    "lt": "less_than",
}


class ErrorResponse(JSONResponse):
    """ASCII only: what was received may hold half a surrogate pair, which UTF-8 cannot."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode()


def status_of(error: errors.AppError, invalid_status: int = 422) -> int:
    status = next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)
    return invalid_status if status == 422 else status


def app_error_body(error: errors.AppError, request: HTTPConnection) -> dict[str, Any]:
    return error_body(
        error.message,
        code=error.code,
        status=status_of(error, _invalid_status(request)),
        request_id=request.scope.get("request_id"),
        param=error.param,
        details=error.details,
    )


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(errors.AppError, _on_app_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


def located(error: ValidationError, place: str) -> RequestValidationError:
    """What FastAPI would have raised, with the problems in "body" or "query"."""
    return RequestValidationError(
        [{**problem, "loc": (place, *problem["loc"])} for problem in error.errors()]
    )


def shaped(body: dict[str, Any], connection: HTTPConnection) -> dict[str, Any]:
    """An error's body as its route answers errors: a familiar route of another server (api/compat)
    does so in that server's shape. Its code is noted for the log.
    """
    connection.scope[ERROR_CODE] = body["error"]["code"]
    shape = getattr(connection.scope.get("route"), "shape", None)
    told: dict[str, Any] = shape(body, connection) if shape is not None else body
    return told


def internal_error(connection: HTTPConnection) -> JSONResponse:
    return _respond(internal_error_body(connection.scope["request_id"]), connection)


def internal_error_body(request_id: str) -> dict[str, Any]:
    """The generic answer to a bug; what happened is in the log under the request id."""
    return error_body(
        "something went wrong on the server; its log says more under this request id",
        code="internal_error",
        status=500,
        request_id=request_id,
    )


async def _on_app_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.AppError)
    return _respond(
        app_error_body(error, request),
        request,
        retry_after_s=error.retry_after_s,
        should_retry=error.should_retry,
    )


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = HTTP_CODES.get(error.status_code, "invalid_request")
    body = error_body(
        str(error.detail),
        code=code,
        status=error.status_code,
        request_id=request.scope.get("request_id"),
    )
    return _respond(body, request, headers=dict(error.headers or {}))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    first = problems[0]
    field = _place(first)
    request.scope[PROBLEM] = first["type"]
    if first["type"] == "json_invalid":
        message, code, field = "the body is not valid JSON", "invalid_json", None
    else:
        message, code = f"{field or 'body'}: {_said(first)}", _validation_code(first["type"])
    context = first.get("ctx") or {}
    details: dict[str, Any] = {BOUNDS.get(k, k): v for k, v in context.items() if _is_plain(v)}
    if _is_plain(first.get("input")):
        details["received"] = _shortened(first["input"])
    if len(problems) > 1:
        details["also"] = [f"{_place(problem)}: {_said(problem)}" for problem in problems[1:10]]
    status = _invalid_status(request)
    request_id = request.scope.get("request_id")
    return _respond(
        error_body(
            message, code=code, status=status, request_id=request_id, param=field, details=details
        ),
        request,
    )


def _invalid_status(request: HTTPConnection) -> int:
    return int(getattr(request.scope.get("route"), "invalid_status", 422))


def _validation_code(error_type: str) -> str:
    if error_type == "missing":
        return "missing_required_parameter"
    return "unknown_parameter" if error_type == "extra_forbidden" else "invalid_value"


def _said(problem: Any) -> str:
    """Without what pydantic puts before a text of our own."""
    return str(problem["msg"]).removeprefix("Value error, ")


def _place(problem: Any) -> str | None:
    """The field that is at fault; a name that a client made up may be of any length."""
    return ".".join(str(part)[:FIELD_CHARS] for part in problem["loc"][1:]) or None


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | bool) or (
        isinstance(value, float) and math.isfinite(value)
    )


def _shortened(value: Any) -> Any:
    return value[:RECEIVED_CHARS] if isinstance(value, str) else value


def _respond(
    body: dict[str, Any],
    connection: HTTPConnection,
    *,
    retry_after_s: float | None = None,
    should_retry: bool | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    status = body["error"]["status"]
    headers = headers or {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="onebox"'
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
        headers["retry-after-ms"] = str(max(1, math.ceil(retry_after_s * 1000)))
    if should_retry is None and status in NO_RETRY:
        should_retry = False
    if should_retry is not None:
        headers["x-should-retry"] = "true" if should_retry else "false"
    return ErrorResponse(shaped(body, connection), status_code=status, headers=headers)
