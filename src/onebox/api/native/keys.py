"""`/v1/keys`: the keys that clients send, made and taken away while the server runs."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from onebox.api.bodies import JSON
from onebox.api.deps import ServicesDep
from onebox.api.pages import Cursor, Limit, listing
from onebox.api.routing import AdminRoute
from onebox.core.usage_units import UNITS
from onebox.services.access.caller import Allowance, Scope
from onebox.services.access.keys.keys import GRACE_S, MAX_GRACE_S, MAX_NAME_CHARS
from onebox.services.access.keys.rows import StoredKey
from onebox.services.database import Order

PATH = "/v1/keys"
# A secret must lie in no cache, and whether a key still works must not come out of one.
HEADERS = {"Cache-Control": "no-store"}

State = Literal["active", "expired", "revoked"]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=8)]
Models = Annotated[list[Annotated[str, Field(min_length=1, max_length=512)]], Field(max_length=500)]
Count = Annotated[int, Field(ge=1, le=10**12)]
Unit = Literal[UNITS]  # type: ignore[valid-type]  # a tuple is as good as its items
Amounts = dict[Unit, Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]]
Moment = Annotated[float, Field(gt=0, le=1e11, description="Seconds since 1970.")]

EXPIRES = "When it stops, in seconds since 1970; null: never."
MODELS = "Models it may use, by name, alias, SHA-256 or beginning (`tiny-*`); null: all."


class KeyLimits(BaseModel):
    """What one key may take; null: what the server's settings say."""

    model_config = ConfigDict(extra="forbid")

    models: Models | None = Field(default=None, description=MODELS)
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    max_concurrent: Count | None = Field(
        default=None, description="Requests that may wait or run at a time."
    )
    daily: Amounts | None = Field(default=None, description="The most of each unit in a UTC day.")
    monthly: Amounts | None = Field(default=None, description="The same for a UTC month.")


class NewKey(KeyLimits):
    name: Name
    scopes: Scopes = ["infer"]
    expires_at: Moment | None = Field(default=None, description=EXPIRES)


class KeyChanges(KeyLimits):
    """What is not named stays."""

    name: Name | None = None
    scopes: Scopes | None = None
    expires_at: Moment | None = Field(default=None, description=EXPIRES)


class Rotation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    grace_seconds: float = Field(
        GRACE_S, ge=0, le=MAX_GRACE_S, description="How long the secret before works on."
    )


class KeyAnswer(BaseModel):
    """A key without its secret. Times are seconds since 1970."""

    id: str
    object: Literal["key"]
    name: str
    prefix: str = Field(description="The beginning of the secret.")
    state: State
    scopes: list[Scope]
    models: list[str] | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_concurrent: int | None
    daily: dict[str, float]
    monthly: dict[str, float]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None
    previous_expires_at: float | None = Field(
        description="Until when the secret before the last rotation works."
    )


class KeyWithSecret(KeyAnswer):
    key: str = Field(description="What clients send. Nobody can show it again.")


class KeyPage(BaseModel):
    object: Literal["list"]
    data: list[KeyAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


def create_router() -> APIRouter:
    router = APIRouter(route_class=AdminRoute, tags=["keys"])
    one = f"{PATH}/{{key_id}}"
    for path, method, endpoint, summary, answer in (
        (PATH, "POST", create_key, "Make a key", KeyWithSecret),
        (PATH, "GET", list_keys, "All keys", KeyPage),
        (one, "GET", get_key, "One key", KeyAnswer),
        (one, "POST", change_key, "Change what a key may do", KeyAnswer),
        (f"{one}/rotate", "POST", rotate_key, "Give a key a new secret", KeyWithSecret),
        (one, "DELETE", revoke_key, "End a key for ever", KeyAnswer),
    ):
        router.add_api_route(
            path,
            endpoint,
            methods=[method],
            summary=summary,
            response_class=Response,
            responses={200: {"model": answer}},
        )
    return router


async def create_key(body: NewKey, services: ServicesDep) -> Response:
    """The only answer, beside that of a rotation, that holds the secret."""
    key, secret = await services.access.keys.create(
        body.name,
        scopes=body.scopes,
        allowance=Allowance(**_limits(body)),
        expires_at=body.expires_at,
    )
    return _answer({**key_answer(key), "key": secret})


async def list_keys(
    services: ServicesDep, limit: Limit = 20, after: Cursor = None, order: Order = "desc"
) -> Response:
    """Those that have ended too."""
    found, has_more = await services.access.keys.page(after=after, limit=limit, order=order)
    return _answer(listing([key_answer(key) for key in found], has_more=has_more))


async def get_key(key_id: str, services: ServicesDep) -> Response:
    return _answer(key_answer(await services.access.keys.get(key_id)))


async def change_key(key_id: str, body: KeyChanges, services: ServicesDep) -> Response:
    """Holds for the next request; null takes a limit away."""
    changes = _limits(body)
    for name in ("name", "scopes"):
        if getattr(body, name) is not None:
            changes[name] = getattr(body, name)
    if "expires_at" in body.model_fields_set:
        changes["expires_at"] = body.expires_at
    return _answer(key_answer(await services.access.keys.update(key_id, changes)))


async def rotate_key(key_id: str, services: ServicesDep, body: Rotation | None = None) -> Response:
    """Who sends it stays the same caller, with its jobs and files. Only one secret before the new
    one works on.
    """
    grace_s = GRACE_S if body is None else body.grace_seconds
    key, secret = await services.access.keys.rotate(key_id, grace_s=grace_s)
    return _answer({**key_answer(key), "key": secret})


async def revoke_key(key_id: str, services: ServicesDep) -> Response:
    """What it has begun goes on to its end, live sessions apart; nothing new begins."""
    return _answer(key_answer(await services.access.keys.revoke(key_id)))


def key_answer(key: StoredKey) -> dict[str, Any]:
    """See KeyAnswer."""
    return {
        "id": key.id,
        "object": "key",
        "name": key.name,
        "prefix": key.prefix,
        "state": key.state(time.time()),
        "scopes": sorted(key.scopes),
        **msgspec.to_builtins(key.allowance),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "previous_expires_at": key.previous_until,
    }


def _limits(body: KeyLimits) -> dict[str, Any]:
    """The fields of an Allowance that a client named."""
    named = body.model_dump(include=set(KeyLimits.model_fields) & body.model_fields_set)
    for name, value in named.items():
        if name == "models" and value is not None:
            named[name] = tuple(value)
        elif name in ("daily", "monthly"):
            named[name] = value or {}
    return named


def _answer(told: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(told), media_type=JSON, headers=HEADERS)
