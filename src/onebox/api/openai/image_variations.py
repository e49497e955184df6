"""`POST /v1/images/variations`: OpenAI's route for pictures that resemble one.

An adapter over the task `variations`.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import Field

from onebox.api.bodies import filled
from onebox.api.given_picture import GivenPicture
from onebox.api.openai.image_fields import ImageFields, own_fields, own_names, refuse_unsupported
from onebox.api.openai.images_answer import answer_form, image_responses, images_answer
from onebox.api.options import options_of
from onebox.api.picture_bodies import load_pictures, picture_body, read_body, sources_of
from onebox.api.routing import OpenAIRoute
from onebox.bootstrap import Services
from onebox.tasks.picture_input import MAX_PROMPT
from onebox.tasks.variations import VariationsInput


class VariationRequest(ImageFields):
    """OpenAI's fields, and ours (`prompt`, `strength` and those of `/v1/images/generations`), as a
    form or as JSON. `user` is accepted, without effect.
    """

    image: GivenPicture = Field(description="A picture: png, jpeg or webp.")
    prompt: str | None = Field(
        None, max_length=MAX_PROMPT, description="Only leads what changes; may be left out."
    )
    strength: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="1: nothing of the picture is left."
    )


def create_router() -> APIRouter:
    router = APIRouter(route_class=OpenAIRoute, tags=["openai"])
    router.add_api_route(
        "/v1/images/variations",
        vary,
        methods=["POST"],
        summary="Pictures that resemble one, as OpenAI's clients ask for them",
        response_class=Response,
        responses=image_responses(streams=False),
        openapi_extra=picture_body(VariationRequest),
    )
    return router


async def vary(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await read_body(request, VariationRequest)
    refuse_unsupported(body)
    (image,) = (await load_pictures(body, sources_of(services, request.state.caller)))["image"]
    with own_names():
        prepared = await services.inference.prepare(
            "variations",
            filled(VariationsInput, image=image, **own_fields(body)),
            model=body.model,
            caller=request.state.caller,
            options=options_of(body, request),
        )
        outcome = await services.inference.run(prepared)
    form = answer_form(request, body.response_format, inputs=1)
    return await images_answer(outcome, form, services.files)
