"""Bodies with pictures, as JSON or as a form: files, those of `/v1/files`, data URLs, and links
where they are allowed.

A route reads its body by `read_body` into a model whose pictures are fields of the type
GivenPicture or `list[GivenPicture]`, and gets their bytes by `load_pictures`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel

from onebox.api.bodies import JSON, described_body, read_json
from onebox.api.forms import MULTIPART, is_form, kinds_of, read_form
from onebox.api.given_picture import GivenPicture
from onebox.api.openai.image_inputs import MAX_TOTAL_BYTES, ImageInputs
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.services.access.caller import Caller
from onebox.services.remote_media import RemoteMedia
from onebox.services.uploads import Uploads

MAX_PICTURE_BYTES = 50 * 1024 * 1024

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class PictureSources:
    """Where pictures come from that are not in the body itself; `caller` is whose files count."""

    remote: RemoteMedia
    uploads: Uploads
    caller: str


def sources_of(services: Services, caller: Caller) -> PictureSources:
    return PictureSources(services.remote_media, services.uploads, caller.id)


async def read_body(request: Request, model: type[ModelT]) -> ModelT:
    """A form or JSON, by what the request says it is.

    Raises InvalidInput, and RequestValidationError as FastAPI does.
    """
    return await (read_form if is_form(request) else read_json)(request, model)


def picture_body(model: type[BaseModel]) -> dict[str, Any]:
    """What `openapi_extra` must hold for a route that reads this model by `read_body`."""
    return described_body(model, MULTIPART, JSON)


async def load_pictures(
    body: BaseModel, sources: PictureSources, *, max_bytes: int = MAX_PICTURE_BYTES
) -> dict[str, list[MediaRef]]:
    """The bytes of all pictures by the name of their field, still encoded; of a field that was left
    out none. Each may have `max_bytes`.

    Raises InvalidInput for what cannot be had, and for a file that is empty or too large;
    FileNotFound for one that the caller does not have.
    """
    inputs = ImageInputs(max_image_bytes=max_bytes)
    stored = _StoredPictures(sources, max_bytes)
    # For each field its files, and the numbers of those that are still to be loaded.
    found: dict[str, list[MediaRef | int]] = {}
    for name, given in _pictures(body):
        found[name] = [
            inputs.add(picture.text, name)
            if picture.text is not None
            else _checked(picture.file or await stored.read(picture.file_id, name), name, max_bytes)
            for picture in given
        ]
    loaded = await inputs.load(sources.remote)
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


class _StoredPictures:
    """The files of one request that were sent before it, so many bytes of them together."""

    def __init__(self, sources: PictureSources, max_bytes: int) -> None:
        self._sources = sources
        self._max_bytes = max_bytes
        self._left = MAX_TOTAL_BYTES

    async def read(self, file_id: str | None, param: str) -> MediaRef:
        """Raises FileNotFound, and InvalidInput for what is too large."""
        upload, path = await self._sources.uploads.open(file_id or "", self._sources.caller)
        most = min(self._left, self._max_bytes)
        if upload.size_bytes > most:
            raise InvalidInput(
                f"the file {upload.id} has {upload.size_bytes} bytes; a picture may have "
                f"{self._max_bytes}, those of a request {MAX_TOTAL_BYTES} in all",
                param=param,
                details={"max": most},
            )
        self._left -= upload.size_bytes
        return MediaRef(data=await asyncio.to_thread(path.read_bytes))


def _checked(file: MediaRef, param: str, max_bytes: int) -> MediaRef:
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
