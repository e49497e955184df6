"""A picture as a client names it, before it is known to be one."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from onebox.core.media import MediaRef

FORMS = "a data URL (data:image/png;base64,…), a link or a file part"


class GivenPicture(BaseModel):
    """A file's part, or the text of a data URL or of a link, which is still to be read.

    Validates from a MediaRef with bytes, a text, or `{"image_url": text}`.
    """

    model_config = ConfigDict(frozen=True)

    file: MediaRef | None = None
    text: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_client_forms(cls, value: Any) -> Any:
        return fields_of(value)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {
            "type": "string",
            "format": "binary",
            "description": "A file part (multipart), a base64 data URL, or an https link where "
            "the server allows them.",
        }


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a GivenPicture that a client sent in one of its forms. Raises ValueError."""
    if isinstance(value, MediaRef):
        return {"file": value}
    if isinstance(value, dict) and value.keys() == {"image_url"}:
        value = value["image_url"]
    if isinstance(value, str):
        return {"text": value}
    raise ValueError(f"expected {FORMS}")
