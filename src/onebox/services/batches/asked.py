"""A line of a batch as the request that it stands for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from pydantic import ValidationError

from onebox.core.errors import InvalidInput, PayloadTooLarge
from onebox.core.media import MediaRef
from onebox.services.form_bodies import Part, encoded_form
from onebox.services.in_process import Asked
from onebox.services.uploads import Uploads

# Those of the routes of OpenAI that answer JSON.
ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/images/variations",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
)
# They take forms: an object of a line becomes one.
FORMS = frozenset({"/v1/audio/transcriptions", "/v1/audio/translations"})
FILE = "file"


async def asked_of(
    endpoint: str, body: bytes, uploads: Uploads, caller: str, *, max_bytes: int
) -> Asked:
    """Raises InvalidInput, FileNotFound and PayloadTooLarge for a file that cannot be had."""
    if endpoint not in FORMS:
        return Asked(path=endpoint, body=body)
    fields: dict[str, Any] = msgspec.json.decode(body)
    parts = [part async for part in _parts(fields, uploads, caller, max_bytes)]
    encoded, media_type = await asyncio.to_thread(encoded_form, parts)
    return Asked(path=endpoint, body=encoded, media_type=media_type)


async def _parts(
    fields: dict[str, Any], uploads: Uploads, caller: str, max_bytes: int
) -> AsyncIterator[Part]:
    for name, value in fields.items():
        if name == FILE:
            yield await _file(value, uploads, caller, max_bytes)
            continue
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                text = item.encode() if isinstance(item, str) else msgspec.json.encode(item)
                yield Part(name, text)


async def _file(value: Any, uploads: Uploads, caller: str, max_bytes: int) -> Part:
    """A data URL, or one of `/v1/files`: `{"file_id": …}`."""
    if isinstance(value, dict) and isinstance(value.get("file_id"), str):
        upload, path = await uploads.open(value["file_id"], caller)
        if upload.size_bytes > max_bytes:
            raise PayloadTooLarge(
                f"the file has {upload.size_bytes} bytes; a request may have {max_bytes} "
                "(ONEBOX_MAX_BODY_BYTES)",
                param=FILE,
            )
        return Part(FILE, await asyncio.to_thread(path.read_bytes), upload.filename)
    try:
        media = MediaRef.model_validate(value if isinstance(value, str) else None)
    except ValidationError:
        raise InvalidInput(
            'file must be a data URL, or {"file_id": …} of a file of /v1/files', param=FILE
        ) from None
    return Part(FILE, media.data or b"", FILE, media.media_type)
