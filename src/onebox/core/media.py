"""`MediaRef`: the one type of binary input. A client sends a data URL, a multipart part, or a
stored file's id.

On the wire to a worker it is bytes or a spool id; a path never comes from a client.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

SPOOL_ID = re.compile(r"^[0-9a-f]{32}$")
_DATA_URL = re.compile(r"^data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)

SpoolId = Annotated[str, Field(pattern=SPOOL_ID.pattern)]


class MediaRef(BaseModel):
    """Binary input: `data` (decoded bytes) or `file_id` (what the server stored earlier), never
    both.

    Validates from a base64 data URL, raw bytes, `{"file_id": …}` or another MediaRef.
    """

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64")

    media_type: str = "application/octet-stream"
    data: bytes | None = None
    file_id: SpoolId | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_client_forms(cls, value: Any) -> Any:
        if isinstance(value, bytes):
            return {"data": value}
        if isinstance(value, str):
            return _parse_data_url(value)
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> MediaRef:
        if (self.data is None) == (self.file_id is None):
            raise ValueError("give either the data (a base64 data URL or a file part) or a file_id")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {
            "type": "string",
            "format": "binary",
            "description": "A base64 data URL (JSON) or a file part (multipart).",
        }


def _parse_data_url(text: str) -> dict[str, Any]:
    match = _DATA_URL.match(text)
    if match is None:
        raise ValueError("expected a base64 data URL such as data:image/png;base64,…")
    try:
        data = base64.b64decode(text[match.end() :], validate=True)
    except binascii.Error as error:
        raise ValueError("the data URL is not valid base64") from error
    return {"media_type": match.group(1) or "application/octet-stream", "data": data}


class Spool:
    """Files passed between gateway and worker by id, in the data folder. Safe from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Store bytes, whole or not at all, and return their id."""
        spool_id = secrets.token_hex(16)
        partial = self._folder / f"{spool_id}.part"
        partial.write_bytes(data)
        partial.replace(self._folder / spool_id)
        return spool_id

    def read(self, spool_id: str) -> bytes:
        """Raises FileNotFoundError for an unknown or malformed id."""
        return self._path(spool_id).read_bytes()

    def take(self, spool_id: str) -> bytes:
        """Read and delete. Raises FileNotFoundError as `read` does."""
        data = self.read(spool_id)
        self.discard(spool_id)
        return data

    def discard(self, spool_id: str) -> None:
        self._path(spool_id).unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete what an earlier process left behind."""
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)

    def _path(self, spool_id: str) -> Path:
        if not SPOOL_ID.match(spool_id):
            raise FileNotFoundError(spool_id)
        return self._folder / spool_id
