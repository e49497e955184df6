"""`POST /v1/images/edits`: OpenAI's route that changes pictures.

An adapter over the tasks `inpainting`, where a mask says what to change, and `image-to-image`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import AliasChoices, BaseModel, BeforeValidator, Field

from onebox.api.bodies import filled
from onebox.api.given_picture import GivenPicture
from onebox.api.openai.image_fields import (
    PromptedFields,
    own_fields,
    own_names,
    refuse_unsupported,
)
from onebox.api.openai.images_answer import (
    answer_form,
    image_events,
    image_responses,
    images_answer,
)
from onebox.api.options import options_of
from onebox.api.picture_bodies import load_pictures, picture_body, read_body, sources_of
from onebox.api.routing import OpenAIRoute
from onebox.api.sse import LONG_HEAD_S, EventStream
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.tasks.image_to_image import MAX_IMAGES, ImageToImageInput
from onebox.tasks.inpainting import MAX_PADDING, InpaintArea, InpaintingInput

# What goes to `inpainting` under the same name, and to no other task.
MASKED = ("mask_mode", "feather", "preserve_unmasked", "inpaint_area", "inpaint_padding")


def _as_list(value: Any) -> Any:
    return value if value is None or isinstance(value, list) else [value]


class EditRequest(PromptedFields):
    """OpenAI's fields, and ours (`strength`, `mask_mode`, `feather`, `preserve_unmasked`,
    `inpaint_area`, `inpaint_padding` and all of those of `/v1/images/generations`), as a form or as
    JSON.

    `quality`, `input_fidelity`, `user` and `safety_identifier` are accepted, without effect.
    """

    image: Annotated[list[GivenPicture], BeforeValidator(_as_list)] = Field(
        min_length=1,
        max_length=MAX_IMAGES,
        validation_alias=AliasChoices("image", "images"),
        description="One to 16 pictures: png, jpeg or webp.",
    )
    mask: GivenPicture | None = Field(
        None, description="Where it is transparent, the first picture is changed."
    )
    mask_mode: Literal["alpha", "luminance"] | None = Field(
        None,
        description="`luminance`: where the mask is white, the picture is changed. `alpha` without "
        "a mask: the picture's own transparency is the mask.",
    )
    feather: int | None = Field(
        None, ge=0, le=256, description="Pixels over which old and new pass into each other."
    )
    preserve_unmasked: bool | None = Field(
        None, description="Default true: what the mask leaves out stays as it is, bit for bit."
    )
    inpaint_area: InpaintArea | None = Field(
        None,
        description="`masked`: only the masked part and what surrounds it is drawn, with all the "
        "pixels that the `whole` picture (the default) would be drawn with.",
    )
    inpaint_padding: int | None = Field(
        None,
        ge=0,
        le=MAX_PADDING,
        description="With `masked`: pixels of the picture on each side of the mask; by default a "
        "quarter of the mask's longer side, 32 at least.",
    )
    strength: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="1: nothing of the picture is left."
    )
    input_fidelity: Literal["high", "low"] | None = None
    markup: GivenPicture | None = None


def create_router() -> APIRouter:
    router = APIRouter(route_class=OpenAIRoute, tags=["openai"])
    router.add_api_route(
        "/v1/images/edits",
        edit,
        methods=["POST"],
        summary="Pictures made of others by a prompt, as OpenAI's clients ask for them",
        response_class=Response,
        responses=image_responses(),
        openapi_extra=picture_body(EditRequest),
    )
    return router


async def edit(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await read_body(request, EditRequest)
    refuse_unsupported(body)
    _refuse_odd_masks(body)
    pictures = await load_pictures(body, sources_of(services, request.state.caller))
    task, task_input = _asked(body, pictures)
    with own_names():
        prepared = await services.inference.prepare(
            task,
            task_input,
            model=body.model,
            caller=request.state.caller,
            options=options_of(body, request),
        )
        form = answer_form(
            request, body.response_format, quality=body.quality, inputs=len(pictures["image"])
        )
        if body.stream:
            events = image_events(services.inference, prepared, form, "image_edit")
            return EventStream(events, request, head_s=LONG_HEAD_S)
        outcome = await services.inference.run(prepared)
    return await images_answer(outcome, form, services.files)


def _is_masked(body: EditRequest) -> bool:
    """Whether a mask says what to change: one that was sent, or the picture's own transparency."""
    return body.mask is not None or body.mask_mode == "alpha"


def _refuse_odd_masks(body: EditRequest) -> None:
    if _is_masked(body):
        return
    for name in MASKED:
        if getattr(body, name) is not None:
            raise InvalidInput(f"{name} needs a mask", param=name)


def _asked(body: EditRequest, pictures: dict[str, list[MediaRef]]) -> tuple[str, BaseModel]:
    """The task, and its input."""
    if not _is_masked(body):
        given = own_fields(body)
        return "image-to-image", filled(ImageToImageInput, images=pictures["image"], **given)
    given = own_fields(body, *MASKED)
    (image, *others), mask = pictures["image"], next(iter(pictures["mask"]), None)
    if others:
        given["references"] = others
    return "inpainting", filled(InpaintingInput, image=image, mask=mask, **given)
