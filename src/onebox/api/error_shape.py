"""The one shape in which every error leaves, as bodies and inside event streams."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

# Of the scope: what pydantic calls the first thing that is wrong with a request.
PROBLEM = "onebox.problem"
# And the code of the error that it ended in, for its line in the log (api/middleware).
ERROR_CODE = "onebox.error_code"
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}


class ErrorDetail(BaseModel):
    message: str = Field(description="What happened, and the remedy.")
    type: str
    param: str | None = Field(description="The field of the request that is at fault.")
    code: str
    status: int
    details: dict[str, Any]
    request_id: str | None


class ErrorAnswer(BaseModel):
    """Every answer that is not a success."""

    error: ErrorDetail


def error_body(
    message: str,
    *,
    code: str,
    status: int,
    request_id: str | None,
    param: str | None = None,
    details: dict[str, Any] | None = None,
) -> dict[str, Any]:
    detail = ErrorDetail(
        message=message,
        type=TYPES.get(status, "invalid_request_error" if status < 500 else "server_error"),
        param=param,
        code=code,
        status=status,
        details=details or {},
        request_id=request_id,
    )
    return ErrorAnswer(error=detail).model_dump()
