"""`POST /api/v1/create-image`: a person wearing what a catalogue shows, and `GET /media/{name}`,
where the picture is then.

An adapter over the task `try-on`. The key may stand in the body.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any, ClassVar, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.requests import HTTPConnection

from onebox.api.bodies import filled, json_body, read_json
from onebox.api.compat.asking import json_answer, prepared
from onebox.api.compat.body_key import MAX_USER_ID, read_key
from onebox.api.compat.routing import CompatRoute
from onebox.api.compat.shapes import TryOnError, try_on_error
from onebox.api.deps import ServicesDep
from onebox.api.given_picture import GivenPicture
from onebox.api.native.files import signed_file
from onebox.api.picture_bodies import load_pictures, sources_of
from onebox.api.ranged_file import RangedFile, told_file
from onebox.bootstrap import Services
from onebox.core.errors import Forbidden
from onebox.core.results import Artifact
from onebox.services.access.caller import Caller
from onebox.services.hooks.creation import create_picture_reports
from onebox.services.hooks.picture_reports import PictureReport
from onebox.services.in_process import CALLER
from onebox.tasks.try_on import TryOnInput

MEDIA = "/media"
# Of every picture's name there, behind its signature.
PNG = ".png"
# Begins of ids of callers that somebody else knows as users: who signed a token, or a backend;
# and of those that such a one lets in without a name.
USERS = ("jwt:", "oidc:", "backend:")
UNNAMED = "backend:token-"
# What a picture costs where nothing has a price.
CREDITS = 1


class MediaRoute(CompatRoute):
    error_model: ClassVar[type[BaseModel]] = TryOnError

    @staticmethod
    def shape(body: dict[str, Any], connection: HTTPConnection) -> dict[str, Any]:
        return try_on_error(body, connection)


class TryOnRoute(MediaRoute):
    """Takes the key from the body where there is no header."""

    async def credentials(self, request: Request) -> tuple[Request, str | None]:
        request, authorization = await super().credentials(request)
        if authorization is not None or CALLER in request.scope:
            return request, authorization
        request, key = await read_key(request)
        return request, None if key is None else f"Bearer {key}"


class CreateImageRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user_id: str = Field(min_length=1, max_length=MAX_USER_ID)
    api_key: SecretStr | None = Field(
        default=None, description="A bearer key, where no header has one."
    )
    catalog_id: str = Field(min_length=1, max_length=256)
    user_image_url: GivenPicture = Field(description="The person.")
    catalog_image_url: GivenPicture = Field(description="The garment.")


class CreateImageAnswer(BaseModel):
    status: Literal["success"]
    image_url: str = Field(description="`/media/….png`, which works for ONEBOX_FILE_TTL seconds.")
    latency_ms: float


def create_router() -> APIRouter:
    router = APIRouter(tags=["compat"])
    router.add_api_route(
        "/api/v1/create-image",
        create_image,
        methods=["POST"],
        operation_id="tryon_create_image",
        summary="A person wearing what a catalogue shows",
        response_class=Response,
        responses={200: {"model": CreateImageAnswer}},
        openapi_extra=json_body(CreateImageRequest),
        route_class_override=TryOnRoute,
    )
    told: dict[str, Any] = told_file("The picture.")
    router.add_api_route(
        MEDIA + "/{name}",
        media,
        methods=["GET"],
        operation_id="tryon_media",
        summary="A picture that was made, by its signed name",
        response_class=RangedFile,
        route_class_override=MediaRoute,
        **told,
    )
    return router


async def create_image(request: Request) -> Response:
    began = time.perf_counter()
    services: Services = request.app.state.services
    body = await read_json(request, CreateImageRequest)
    caller: Caller = request.state.caller
    _require_own(caller, body.user_id)
    # Also a key of the shop's own asks for one of its users.
    request.state.caller = replace(caller, user_id=body.user_id)
    pictures = await load_pictures(body, sources_of(services, request.state.caller))
    (person,), (garment,) = pictures["user_image_url"], pictures["catalog_image_url"]
    task_input = filled(TryOnInput, person=person, garment=garment)
    asked = await prepared(request, "try-on", task_input, None)
    outcome = await services.inference.run(asked)
    # What is charged is told, also when the client leaves just now.
    told = await asyncio.shield(
        _keep(services, body, outcome.artifacts[0], credits=asked.credits, began=began)
    )
    return json_answer(told)


async def media(name: str, services: ServicesDep) -> RangedFile:
    return signed_file(services.files, name.removesuffix(PNG))


async def _keep(
    services: Services,
    body: CreateImageRequest,
    picture: Artifact,
    *,
    credits: float,
    began: float,
) -> dict[str, Any]:
    """Store a picture, and tell the shop's backend of it; returns the answer."""
    signed = await asyncio.to_thread(services.files.put, picture)
    url = f"{services.settings.public_url or ''}{MEDIA}/{signed}{PNG}"
    latency_ms = round((time.perf_counter() - began) * 1000, 2)
    reports = create_picture_reports(services.settings, services.database, services.webhooks)
    if reports is not None:
        used = credits if services.settings.prices else CREDITS
        report = PictureReport(body.user_id, used, body.catalog_id, url, latency_ms)
        await reports.finished(report)
    return {"status": "success", "image_url": url, "latency_ms": latency_ms}


def _require_own(caller: Caller, user_id: str) -> None:
    """Raises Forbidden when the key is known to be another user's."""
    begin = next(filter(caller.id.startswith, USERS), None)
    is_user = begin is not None and not caller.id.startswith(UNNAMED)
    if is_user and caller.id != f"{begin}{user_id}":
        raise Forbidden(f"the key does not belong to the user {user_id!r}")
