"""A picture as a client names it, before it is known to be one."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from onebox.core.media import MediaRef

FORMS = "a data URL (data:image/png;base64,…), a link, a file part or {file_id}"


class GivenPicture(BaseModel):
    """A file's part, the text of a data URL or of a link, or the id of a file that was sent to
    `/v1/files`; the latter are still to be read.

    Validates from a MediaRef with bytes, a text, `{"image_url": text}` or `{"file_id": text}`.
    """

    model_config = ConfigDict(frozen=True)

    file: MediaRef | None = None
    text: str | None = None
    file_id: str | None = Field(default=None, max_length=128)

    @model_validator(mode="before")
    @classmethod
    def _from_client_forms(cls, value: Any) -> Any:
        return _fields_of(value)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {
            "type": "string",
            "format": "binary",
            "description": "A file part (multipart), a base64 data URL, an https link where "
            "the server allows them, or `{file_id}` of a file of `/v1/files`.",
        }


def _fields_of(value: Any) -> dict[str, Any]:
    """The fields of a GivenPicture that a client sent in one of its forms. Raises ValueError."""
    if isinstance(value, MediaRef):
        return {"file": value}
    if isinstance(value, str) and value.startswith("{"):
        # As a form has it.
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    if isinstance(value, dict) and value.keys() == {"file_id"}:
        return value
    if isinstance(value, dict) and value.keys() == {"image_url"}:
        value = value["image_url"]
    if isinstance(value, str):
        return {"text": value}
    raise ValueError(f"expected {FORMS}")
