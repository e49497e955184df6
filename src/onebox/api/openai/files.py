"""`/v1/files`: files that clients bring once and name by their ids; each key has its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile

from onebox.api.bodies import JSON
from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.errors import located
from onebox.api.forms import form_body, form_values, opened_form
from onebox.api.pages import Cursor, listing
from onebox.api.ranged_file import RangedFile, told_file
from onebox.api.routing import StoreRoute
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.services.database import Order
from onebox.services.upload_rows import Upload

PATH = "/v1/files"
MAX_LIMIT = 10_000
MIN_LIFETIME_S = 3600
MAX_LIFETIME_S = 30 * 86_400

# What clients may say; the server's own files have further ones, such as `batch_output`.
Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]


class ExpiresAfter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: int = Field(ge=MIN_LIFETIME_S, le=MAX_LIFETIME_S)


class UploadFields(BaseModel):
    """What a form says beside its file."""

    purpose: Purpose
    expires_after: ExpiresAfter | None = Field(
        default=None, description="Default: ONEBOX_UPLOAD_TTL days after it was uploaded."
    )


class UploadRequest(UploadFields):
    """A whole form, for the API's pages: the file itself goes to the disk without being a value."""

    file: MediaRef


class FileAnswer(BaseModel):
    """As OpenAI's clients know it; `status` is what they wait for. Times are seconds since 1970."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"]
    status_details: None


class FilePage(BaseModel):
    object: Literal["list"]
    data: list[FileAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedFile(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


def create_router() -> APIRouter:
    router = APIRouter(route_class=StoreRoute, tags=["openai"])
    router.add_api_route(
        PATH,
        upload_file,
        methods=["POST"],
        summary="Upload a file that later requests name by its id",
        response_class=Response,
        responses={200: {"description": "The file, which is on the disk.", "model": FileAnswer}},
        openapi_extra=form_body(UploadRequest),
    )
    router.add_api_route(
        PATH,
        list_files,
        methods=["GET"],
        summary="The files of this key",
        response_class=Response,
        responses={200: {"model": FilePage}},
    )
    one = f"{PATH}/{{file_id}}"
    router.add_api_route(
        one,
        get_file,
        methods=["GET"],
        summary="What is known of a file",
        response_class=Response,
        responses={200: {"model": FileAnswer}},
    )
    router.add_api_route(one, delete_file, methods=["DELETE"], summary="Delete a file")
    router.add_api_route(
        f"{one}/content",
        file_content,
        methods=["GET"],
        summary="The bytes of a file",
        response_class=RangedFile,
        **told_file("The file, to be saved."),
    )
    return router


async def upload_file(request: Request) -> Response:
    services: Services = request.app.state.services
    async with opened_form(request) as form:
        file = _file_of(form)
        fields = FormData([(name, value) for name, value in form.multi_items() if name != "file"])
        body = _checked(await form_values(fields, UploadFields))
        stored = await services.uploads.create(
            file.file,
            filename=file.filename or "",
            purpose=body.purpose,
            caller=request.state.caller.id,
            lifetime_s=body.expires_after.seconds if body.expires_after else None,
        )
    return _answer(file_answer(stored))


async def list_files(
    services: ServicesDep,
    caller: CallerDep,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
    order: Order = "desc",
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = MAX_LIMIT,
    after: Cursor = None,
) -> Response:
    found, has_more = await services.uploads.page(
        caller.id, purpose=purpose, after=after, limit=limit, order=order
    )
    return _answer(listing([file_answer(upload) for upload in found], has_more=has_more))


async def get_file(file_id: str, services: ServicesDep, caller: CallerDep) -> Response:
    return _answer(file_answer(await services.uploads.get(file_id, caller.id)))


async def delete_file(file_id: str, services: ServicesDep, caller: CallerDep) -> DeletedFile:
    await services.uploads.delete(file_id, caller.id)
    return DeletedFile(id=file_id)


async def file_content(file_id: str, services: ServicesDep, caller: CallerDep) -> RangedFile:
    upload, path = await services.uploads.open(file_id, caller.id)
    return RangedFile(
        path,
        # Never as what it says it is: a browser would run it.
        media_type="application/octet-stream",
        filename=upload.filename,
        headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "private"},
    )


def file_answer(upload: Upload) -> dict[str, Any]:
    """See FileAnswer."""
    return {
        "id": upload.id,
        "object": "file",
        "bytes": upload.size_bytes,
        "created_at": int(upload.created_at),
        "expires_at": None if upload.expires_at is None else int(upload.expires_at),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": "processed",
        "status_details": None,
    }


def _answer(told: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(told), media_type=JSON)


def _file_of(form: FormData) -> UploadFile:
    given = form.getlist("file")
    if len(given) != 1 or not isinstance(given[0], UploadFile):
        raise InvalidInput("send one file in the field file: `curl -F file=@name`", param="file")
    return given[0]


def _checked(given: dict[str, Any]) -> UploadFields:
    try:
        return UploadFields.model_validate(given)
    except ValidationError as error:
        raise located(error, "body") from error
