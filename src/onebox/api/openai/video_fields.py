"""What OpenAI's video routes take: its fields, and those of our tasks under the same names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from onebox.api.bodies import filled
from onebox.api.given_picture import GivenPicture
from onebox.api.openai.image_fields import parse_size
from onebox.api.picture_bodies import load_pictures, sources_of
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput
from onebox.services.access.caller import Caller
from onebox.tasks.image_to_video import ImageToVideoInput
from onebox.tasks.text_to_video import TextToVideoInput
from onebox.tasks.video_input import VideoInput

TEXT_TO_VIDEO, IMAGE_TO_VIDEO = "text-to-video", "image-to-video"
REFERENCE = "input_reference"
# What the tasks call otherwise.
ROUTE_NAMES = {"image": REFERENCE, "width": "size", "height": "size", "duration": "seconds"}


class VideoFields(BaseModel):
    """OpenAI's fields; those of the tasks come to them."""

    model_config = ConfigDict(extra="forbid")

    prompt: str | None = Field(default=None, description="What is to be seen.")
    model: str | None = Field(default=None, max_length=512)
    input_reference: GivenPicture | None = Field(
        default=None, description="A picture to start from: a file, `{file_id}` or `{image_url}`."
    )
    seconds: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="How long it is to be."
    )
    size: str | None = Field(default=None, description="`auto`, or WxH in pixels.")
    user: str | None = Field(default=None, description="Accepted, without effect.")


@dataclass(frozen=True, slots=True)
class AskedVideo:
    task: str
    input: VideoInput


def with_task_fields(name: str, *bases: type[BaseModel]) -> type[Any]:
    """VideoFields with the fields of both tasks that it does not have by another name.

    null is the same as left out.
    """
    own: dict[str, Any] = {}
    for field, told in ImageToVideoInput.model_fields.items():
        if field not in ROUTE_NAMES and field not in VideoFields.model_fields:
            annotation: Any = told.annotation
            own[field] = (annotation | None, told)
    model: type[Any] = create_model(name, __base__=(VideoFields, *bases), **own)
    return model


async def asked_video(body: VideoFields, services: Services, caller: Caller) -> AskedVideo:
    """Which task is meant, and its input. Raises InvalidInput, and RequestValidationError."""
    given = _given(body)
    if body.input_reference is None:
        for name in given:
            if name not in TextToVideoInput.model_fields:
                raise InvalidInput(f"{name} needs an {REFERENCE}", param=name)
        return AskedVideo(TEXT_TO_VIDEO, filled(TextToVideoInput, **given))
    (image,) = (await load_pictures(body, sources_of(services, caller)))[REFERENCE]
    return AskedVideo(IMAGE_TO_VIDEO, filled(ImageToVideoInput, image=image, **given))


@contextlib.contextmanager
def route_names(body: VideoFields | None = None) -> Iterator[None]:
    """The fields of the tasks under the names that the routes have for them, in errors.

    `body`: what it did not say cannot be at fault.
    """
    try:
        yield
    except InvalidInput as error:
        error.param = route_name(error.param)
        if error.param == "num_frames" and body is not None and body.seconds is not None:
            error.param = "seconds"
        raise


def route_name(param: str | None) -> str | None:
    return ROUTE_NAMES.get(param or "", param)


def _given(body: VideoFields) -> dict[str, Any]:
    """The fields of the task that were given, but for the picture. Raises InvalidInput."""
    width, height = parse_size(body.size)
    told = {name: getattr(body, name, None) for name in ImageToVideoInput.model_fields}
    told |= {"width": width, "height": height, "duration": body.seconds}
    return {name: value for name, value in told.items() if value is not None}
