"""A conversation as the chat task takes it: messages, tools, and the form of the answer."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MAX_TEXT = 4_000_000
MAX_MESSAGES = 4096
MAX_TOOLS = 128

MAX_INTEGER = 2**63


def _as_sent(value: Any) -> Any:
    """Refuse numbers that cannot be passed on as they are: of more than 64 bits, and no numbers."""
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, dict):
            pending += found.values()
        elif isinstance(found, list):
            pending += found
        elif isinstance(found, int) and not -MAX_INTEGER <= found < MAX_INTEGER:
            raise ValueError("holds an integer of more than 64 bits")
        elif isinstance(found, float) and not math.isfinite(found):
            raise ValueError("holds a number that is not finite")
    return value


JsonObject = Annotated[dict[str, Any], BeforeValidator(_as_sent, dict[str, Any])]
Text = Annotated[str, Field(max_length=MAX_TEXT)]
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextPart(_Strict):
    type: Literal["text"] = "text"
    text: Text


class ImagePart(_Strict):
    """A picture: number `index` of the request's `images`."""

    type: Literal["image"] = "image"
    index: int = Field(ge=0)


class ToolCall(_Strict):
    """`arguments` is JSON text as a model wrote it; it may be anything."""

    id: str = Field(max_length=128)
    name: ToolName
    arguments: Text


class Message(_Strict):
    role: Literal["system", "user", "assistant", "tool"]
    content: Text | Annotated[list[TextPart | ImagePart], Field(max_length=1024)] | None = None
    tool_calls: list[ToolCall] = Field([], max_length=MAX_TOOLS)
    tool_call_id: str | None = Field(None, max_length=128)
    name: str | None = Field(None, max_length=64)


class Tool(_Strict):
    """`parameters` is a JSON schema; `strict` binds the model to it when it calls the tool."""

    name: ToolName
    description: str | None = Field(None, max_length=100_000)
    parameters: JsonObject = {}
    strict: bool = False


class ResponseFormat(_Strict):
    """`json_schema` needs `json_schema`, a schema of the documented subset."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonObject | None = None
