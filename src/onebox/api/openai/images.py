"""`POST /v1/images/generations`:

OpenAI's picture route. An adapter over the task `text-to-image`.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import Field

from onebox.api.bodies import filled, json_body, read_json
from onebox.api.openai.image_fields import PromptedFields, own_fields, own_names, refuse_unsupported
from onebox.api.openai.images_answer import (
    answer_form,
    image_events,
    image_responses,
    images_answer,
)
from onebox.api.options import options_of
from onebox.api.routing import OpenAIRoute
from onebox.api.sse import LONG_HEAD_S, EventStream
from onebox.bootstrap import Services
from onebox.tasks.text_to_image import Hires, TextToImageInput


class ImagesRequest(PromptedFields):
    """OpenAI's fields, and ours (`negative_prompt`, `seed`, `steps`, `guidance_scale`, `scheduler`,
    `clip_skip`, `loras`, `textual_inversions`, `hires`, `deterministic`, `timeout_s`, `priority`)
    through `extra_body`.

    `quality`, `style`, `moderation`, `user` and `safety_identifier` are accepted, without effect.
    """

    moderation: str | None = None
    style: str | None = None
    hires: Hires | None = Field(
        None, description="A second pass at a larger size, which is the result's."
    )


def create_router() -> APIRouter:
    router = APIRouter(route_class=OpenAIRoute, tags=["openai"])
    router.add_api_route(
        "/v1/images/generations",
        generate,
        methods=["POST"],
        summary="Pictures from a prompt, as OpenAI's clients ask for them",
        response_class=Response,
        responses=image_responses(),
        openapi_extra=json_body(ImagesRequest),
    )
    return router


async def generate(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await read_json(request, ImagesRequest)
    refuse_unsupported(body)
    with own_names():
        prepared = await services.inference.prepare(
            "text-to-image",
            filled(TextToImageInput, **own_fields(body, "hires")),
            model=body.model,
            caller=request.state.caller,
            options=options_of(body, request),
        )
        form = answer_form(request, body.response_format, quality=body.quality)
        if body.stream:
            events = image_events(services.inference, prepared, form, "image_generation")
            return EventStream(events, request, head_s=LONG_HEAD_S)
        outcome = await services.inference.run(prepared)
    return await images_answer(outcome, form, services.files)
