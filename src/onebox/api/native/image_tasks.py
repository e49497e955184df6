"""`POST /v1/images/backgrounds`, `/v1/images/cutouts` and `/v1/images/try-on`.

Adapters over the tasks `background`, `cutout` and `try-on`, asked and answered as OpenAI's picture
routes are.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, create_model

from onebox.api.bodies import filled
from onebox.api.given_picture import GivenPicture
from onebox.api.openai.image_fields import SIZE, refuse_odd_streams
from onebox.api.openai.images_answer import (
    answer_form,
    image_events,
    image_responses,
    images_answer,
)
from onebox.api.options import option_fields, options_of
from onebox.api.picture_bodies import load_pictures, picture_body, read_body, sources_of
from onebox.api.routing import Route
from onebox.api.sse import LONG_HEAD_S, EventStream
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.tasks.background import BackgroundInput
from onebox.tasks.cutout import CutoutInput
from onebox.tasks.try_on import TryOnInput

# Path, task, its input, and what the API's pages say.
ROUTES: tuple[tuple[str, str, type[BaseModel], str], ...] = (
    ("backgrounds", "background", BackgroundInput, "Products on backgrounds drawn around them"),
    ("cutouts", "cutout", CutoutInput, "The foreground of a picture, or its matte"),
    ("try-on", "try-on", TryOnInput, "A person wearing a garment, from a picture of each"),
)
# How a picture in a task's input is given to a route.
GIVEN: dict[Any, Any] = {MediaRef: GivenPicture, MediaRef | None: GivenPicture | None}


class AnswerFields(BaseModel):
    """What these routes take beside the fields of their task."""

    model: str | None = Field(
        None, max_length=512, description="SHA-256, prefix of it, name or alias."
    )
    response_format: Literal["b64_json", "url"] | None = None
    user: str | None = Field(None, description="Accepted, without effect.")


class DrawnFields(AnswerFields):
    """The same for what is drawn."""

    size: str | None = Field(
        None, description="`auto`, or WxH in pixels: the same as `width` and `height`."
    )
    stream: bool | None = Field(None, description="Events as of `/v1/images/edits`.")


def create_router() -> APIRouter:
    router = APIRouter(route_class=Route, tags=["inference"])
    for path, task, task_input, summary in ROUTES:
        model = _request_model(task_input)
        router.add_api_route(
            f"/v1/images/{path}",
            _endpoint(task, task_input, model),
            methods=["POST"],
            operation_id=f"images_{task}",
            summary=summary,
            response_class=Response,
            responses=image_responses(streams=issubclass(model, DrawnFields)),
            openapi_extra=picture_body(model),
        )
    return router


def _request_model(task_input: type[BaseModel]) -> type[AnswerFields]:
    """The task's fields, with its pictures as a client names them, the options and our own."""
    own = {
        name: (GIVEN.get(field.annotation, field.annotation), field)
        for name, field in task_input.model_fields.items()
    }
    base: type[AnswerFields] = DrawnFields if "partial_images" in own else AnswerFields
    fields: dict[str, Any] = {**own, **option_fields(task_input)}
    model: type[AnswerFields] = create_model(
        f"Image{task_input.__name__}",
        __base__=base,
        __cls_kwargs__={"extra": "forbid"},
        **fields,
    )
    return model


def _endpoint(
    task: str, task_input: type[BaseModel], model: type[AnswerFields]
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    options = tuple(option_fields(task_input))

    async def ask(request: Request) -> Response:
        services: Services = request.app.state.services
        body = await read_body(request, model)
        pictures = await load_pictures(body, sources_of(services, request.state.caller))
        prepared = await services.inference.prepare(
            task,
            filled(task_input, **_given(body, task_input), **_only(pictures)),
            model=body.model,
            caller=request.state.caller,
            options=options_of(body, request, names=options),
        )
        form = answer_form(request, body.response_format)
        if getattr(body, "stream", None):
            events = image_events(services.inference, prepared, form, "image_edit")
            return EventStream(events, request, head_s=LONG_HEAD_S)
        return await images_answer(await services.inference.run(prepared), form, services.files)

    return ask


def _given(body: AnswerFields, task_input: type[BaseModel]) -> dict[str, Any]:
    """The fields of the task that were given, its pictures left out. Raises InvalidInput."""
    given = {
        name: getattr(body, name)
        for name, field in task_input.model_fields.items()
        if name in body.model_fields_set and field.annotation not in GIVEN
    }
    if not isinstance(body, DrawnFields):
        return given
    refuse_odd_streams(body.stream, given.get("partial_images"), body.response_format)
    if body.stream and given.get("return_mask"):
        raise InvalidInput("return_mask needs an answer without stream", param="return_mask")
    return given | _sides(body.size, given)


def _sides(size: str | None, given: dict[str, Any]) -> dict[str, int]:
    """Width and height of a size. Raises InvalidInput."""
    if size is None or size == "auto":
        return {}
    match = SIZE.fullmatch(size)
    if match is None or given.get("width") or given.get("height"):
        raise InvalidInput(
            "size must be auto, or WIDTHxHEIGHT in pixels without width and height beside it",
            param="size",
            details={"received": size[:32]},
        )
    return {"width": int(match[1]), "height": int(match[2])}


def _only(pictures: dict[str, list[MediaRef]]) -> dict[str, MediaRef]:
    """The picture of each field that has one."""
    return {name: sent[0] for name, sent in pictures.items() if sent}
