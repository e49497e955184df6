"""What every request that runs something may say beside its input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import Request
from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from onebox.core.contracts import Priority
from onebox.services.request import Options

MIN_TIMEOUT_S = 0.001
MAX_TIMEOUT_S = 86_400


class RequestOptions(BaseModel):
    timeout_s: float | None = Field(
        None,
        ge=MIN_TIMEOUT_S,
        le=MAX_TIMEOUT_S,
        allow_inf_nan=False,
        description="Seconds until the request is given up, waiting included; at most the "
        "server's.",
    )
    priority: Priority = Field(
        "interactive", description="`job` waits for `interactive`, and `batch` for both."
    )


def option_fields(model: type[BaseModel]) -> dict[str, tuple[Any, FieldInfo]]:
    """The options as further fields of a model, for `create_model`; the model's own fields win."""
    return {
        name: (field.annotation, field)
        for name, field in RequestOptions.model_fields.items()
        if name not in model.model_fields
    }


def options_of(
    body: BaseModel,
    request: Request,
    *,
    client_id: str | None = None,
    names: Iterable[str] = frozenset(RequestOptions.model_fields),
) -> Options:
    """The options that a body holds.

    Args:
        client_id: what the client calls the request, by default its request id.
        names: those of its fields that are options.
    """
    given = {name: getattr(body, name) for name in names}
    return Options(client_id or request.scope["request_id"], **given)
