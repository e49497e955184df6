"""Everything that can go wrong, in domain words. HTTP statuses are given in `api/errors.py` alone.

AppError
├── InvalidInput              a value of the request is wrong
│   └── ContextOverflow       more tokens than the model can take
├── TaskNotSupported          the model cannot do what was asked
├── Unauthorized, Forbidden
│   ├── ModelNotAllowed       the key may not use that model
│   └── InsufficientCredits   nothing is left on the account
├── RateLimited, QuotaExceeded
├── BackendUnavailable        what the operator has asked about each request gives no answer
├── UpstreamFailed, UpstreamTimeout     the server that a remote model runs on
├── ModelNotFound, FileNotFound, RequestNotFound, KeyNotFound
├── RequestIdTaken            the caller has a running request of that id
├── ModelBroken               the checkpoint on disk cannot be used
├── ResultNotReady            of a job that has not ended well, or not yet
├── ModelBusy                 in use past the bound one waited for
├── ModelUnloaded             taken out of memory by force while it was in use
├── PayloadTooLarge
├── QueueFull, ConcurrencyLimited
├── ModelTooLarge             can never fit the memory budget
├── StorageFull               what is kept has no more room on the disk
├── OutOfMemory, WorkerLost, WorkerUnready, ShuttingDown     try again later
├── DeadlineExceeded, Cancelled
├── InferenceFailed           our fault, or the model's
└── ConfigurationError        the server cannot start
"""

from __future__ import annotations

from typing import Any, ClassVar


class AppError(Exception):
    """Base of all errors that a client may see.

    Args:
        message: what happened, the number, and the remedy; safe to show to a client.
        param: the request field at fault, if one is.
        details: further plain values for programs.
        retry_after_s: seconds after which trying again makes sense.
        should_retry: whether a client that tries again by itself should; None leaves it to the
            kind of error.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        details: dict[str, Any] | None = None,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.details = details or {}
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry


class InvalidInput(AppError):
    code = "invalid_value"


class ContextOverflow(InvalidInput):
    code = "context_length_exceeded"


class TaskNotSupported(AppError):
    code = "task_not_supported"


class Unauthorized(AppError):
    code = "invalid_api_key"


class Forbidden(AppError):
    code = "insufficient_scope"


class ModelNotAllowed(Forbidden):
    code = "model_not_allowed"


class InsufficientCredits(Forbidden):
    code = "insufficient_credits"


class RateLimited(AppError):
    code = "rate_limit_exceeded"


class QuotaExceeded(AppError):
    code = "quota_exceeded"


class BackendUnavailable(AppError):
    code = "backend_unavailable"


class UpstreamFailed(AppError):
    code = "upstream_error"


class UpstreamTimeout(AppError):
    code = "upstream_timeout"


class UpstreamLoop(AppError):
    """Servers that are set up to ask each other in a circle."""

    code = "upstream_loop"


class KeyNotFound(AppError):
    code = "key_not_found"


class ModelNotFound(AppError):
    code = "model_not_found"


class FileNotFound(AppError):
    code = "file_not_found"


class RequestNotFound(AppError):
    code = "request_not_found"


class RequestIdTaken(AppError):
    code = "request_id_taken"


class ResultNotReady(AppError):
    code = "result_not_ready"


class ModelBroken(AppError):
    code = "model_broken"


class ModelBusy(AppError):
    code = "model_busy"


class ModelUnloaded(AppError):
    code = "model_unloaded"


class PayloadTooLarge(AppError):
    code = "payload_too_large"


class QueueFull(AppError):
    code = "queue_full"


class ConcurrencyLimited(AppError):
    code = "concurrency_limit"


class ModelTooLarge(AppError):
    code = "model_too_large"


class StorageFull(AppError):
    code = "storage_full"


class OutOfMemory(AppError):
    code = "insufficient_memory"


class WorkerLost(AppError):
    code = "worker_lost"


class WorkerUnready(AppError):
    code = "worker_unready"


class ShuttingDown(AppError):
    code = "shutting_down"


class DeadlineExceeded(AppError):
    code = "deadline_exceeded"


class Cancelled(AppError):
    code = "cancelled"


class InferenceFailed(AppError):
    code = "inference_failed"


class ConfigurationError(AppError):
    """The server cannot start with these settings."""

    code = "configuration_error"


def all_errors() -> dict[str, type[AppError]]:
    """Every error class by its code, so that an error can be named on the wire and raised again."""
    found: dict[str, type[AppError]] = {}
    pending: list[type[AppError]] = [AppError]
    while pending:
        cls = pending.pop()
        found[cls.code] = cls
        pending.extend(cls.__subclasses__())
    return found
