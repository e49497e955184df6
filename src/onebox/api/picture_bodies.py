"""Bodies with pictures, as JSON or as a form: files, data URLs, and links where they are allowed.

A route reads its body by `read_body` into a model whose pictures are fields of the type
GivenPicture or `list[GivenPicture]`, and gets their bytes by `load_pictures`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel

from onebox.api.bodies import JSON, described_body, read_json
from onebox.api.forms import MULTIPART, is_form, kinds_of, read_form
from onebox.api.given_picture import GivenPicture
from onebox.api.openai.image_inputs import ImageInputs
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.services.remote_media import RemoteMedia

MAX_PICTURE_BYTES = 50 * 1024 * 1024

ModelT = TypeVar("ModelT", bound=BaseModel)


async def read_body(request: Request, model: type[ModelT]) -> ModelT:
    """A form or JSON, by what the request says it is.

    Raises InvalidInput, and RequestValidationError as FastAPI does.
    """
    return await (read_form if is_form(request) else read_json)(request, model)


def picture_body(model: type[BaseModel]) -> dict[str, Any]:
    """What `openapi_extra` must hold for a route that reads this model by `read_body`."""
    return described_body(model, MULTIPART, JSON)


async def load_pictures(
    body: BaseModel, remote: RemoteMedia, *, max_bytes: int = MAX_PICTURE_BYTES
) -> dict[str, list[MediaRef]]:
    """The bytes of all pictures by the name of their field, still encoded; of a field that was left
    out none. Each may have `max_bytes`.

    Raises InvalidInput for what cannot be had, and for a file that is empty or too large.
    """
    inputs = ImageInputs(max_image_bytes=max_bytes)
    # For each field its files, and the numbers of those that are still to be loaded.
    found: dict[str, list[MediaRef | int]] = {}
    for name, given in _pictures(body):
        found[name] = [
            inputs.add(picture.text, name)
            if picture.text is not None
            else _checked(picture.file, name, max_bytes)
            for picture in given
        ]
    loaded = await inputs.load(remote)
    return {
        name: [loaded[part] if isinstance(part, int) else part for part in parts]
        for name, parts in found.items()
    }


def _pictures(body: BaseModel) -> Iterator[tuple[str, list[GivenPicture]]]:
    """Those of each field for pictures."""
    for name, field in type(body).model_fields.items():
        if GivenPicture in kinds_of(field.annotation):
            value = getattr(body, name)
            given = value if isinstance(value, list) else [value]
            yield name, [picture for picture in given if picture is not None]


def _checked(file: MediaRef | None, param: str, max_bytes: int) -> MediaRef:
    assert file is not None
    data = file.data or b""
    if not data:
        raise InvalidInput(f"the file in {param} is empty", param=param)
    if len(data) > max_bytes:
        raise InvalidInput(
            f"the file in {param} has {len(data)} bytes; a picture may have {max_bytes}",
            param=param,
            details={"max": max_bytes},
        )
    return file
