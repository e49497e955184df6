"""Results behind signed links. The signature is the credential."""

from __future__ import annotations

from fastapi import APIRouter

from onebox.api.deps import ServicesDep
from onebox.api.ranged_file import RangedFile, told_file
from onebox.api.routing import Route
from onebox.services.files import FileStore

router = APIRouter(route_class=Route, tags=["files"])


@router.get(
    "/files/{signed}",
    summary="A result, by its signed link",
    response_class=RangedFile,
    **told_file("The file."),
)
async def file(signed: str, services: ServicesDep) -> RangedFile:
    return signed_file(services.files, signed)


def signed_file(files: FileStore, signed: str) -> RangedFile:
    """Raises Unauthorized for what is no signature of a file that is there."""
    stored = files.open(signed)
    return RangedFile(
        stored.path,
        media_type=stored.media_type,
        filename=stored.path.name,
        headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=3600"},
    )
