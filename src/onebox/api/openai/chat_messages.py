"""OpenAI's messages, and what they become for the chat task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from onebox.api.openai.image_inputs import ImageInputs
from onebox.core.errors import InvalidInput
from onebox.language.messages import (
    MAX_TOOLS,
    ImagePart,
    Message,
    Text,
    TextPart,
    ToolCall,
    ToolName,
)

MAX_PARTS = 1024
# What only messages of one role may hold.
OWN_FIELDS = {
    "tool_calls": "assistant",
    "function_call": "assistant",
    "refusal": "assistant",
    "tool_call_id": "tool",
}
ROLES: dict[str, Literal["system", "user", "assistant", "tool"]] = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ImageUrl(_Strict):
    """`detail` is accepted, without effect."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ContentPart(_Strict):
    type: Literal["text", "image_url", "refusal", "input_audio", "file"]
    text: Text | None = None
    image_url: ImageUrl | None = None
    refusal: Text | None = None
    input_audio: Any = None
    file: Any = None
    prompt_cache_breakpoint: Any = None


class CalledFunction(_Strict):
    name: ToolName
    arguments: Text


class GivenCall(_Strict):
    """A call as an answer held it; `index` is left from a streamed one."""

    id: str = Field(min_length=1, max_length=128)
    type: Literal["function", "custom"] = "function"
    function: CalledFunction | None = None
    custom: Any = None
    index: int | None = None


def _as_parts(value: Any) -> Any:
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    if value is not None and not isinstance(value, list):
        raise ValueError("must be a string or a list of parts")
    return value


class GivenMessage(_Strict):
    """What clients copy from an answer into the conversation (`annotations`,
    `reasoning_content`, `reasoning`) is accepted, without effect.
    """

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: Annotated[
        Annotated[list[ContentPart], Field(min_length=1, max_length=MAX_PARTS)] | None,
        BeforeValidator(_as_parts, str | list[ContentPart] | None),
    ] = None
    name: str | None = Field(None, max_length=64)
    tool_calls: list[GivenCall] | None = Field(None, max_length=MAX_TOOLS)
    tool_call_id: str | None = Field(None, max_length=128)
    function_call: CalledFunction | None = None
    refusal: Text | None = None
    audio: Any = None
    annotations: Any = None
    reasoning_content: Any = None
    reasoning: Any = None


class Conversation:
    """Messages for the chat task, and the pictures that their parts number."""

    def __init__(self, given: Sequence[GivenMessage]) -> None:
        """Raises InvalidInput with the place of what cannot be used."""
        self.images = ImageInputs()
        # The id of the latest call in the old form, which has none of its own.
        self._last_call = "call_0"
        self.messages = [
            self._message(message, f"messages.{place}") for place, message in enumerate(given)
        ]

    def _message(self, given: GivenMessage, param: str) -> Message:
        _check_fields(given, param)
        return Message(
            role=ROLES[given.role],
            content=self._content(given, param),
            tool_calls=self._calls(given, param),
            tool_call_id=self._last_call if given.role == "function" else given.tool_call_id,
            name=given.name,
        )

    def _content(self, given: GivenMessage, param: str) -> str | list[TextPart | ImagePart] | None:
        if given.content is None:
            return given.refusal
        parts = [
            self._part(part, given.role, f"{param}.content.{place}")
            for place, part in enumerate(given.content)
        ]
        # One text is plain text, in whichever way it was sent.
        first = parts[0]
        return first.text if len(parts) == 1 and isinstance(first, TextPart) else parts

    def _part(self, part: ContentPart, role: str, param: str) -> TextPart | ImagePart:
        if part.type in ("input_audio", "file"):
            raise InvalidInput(
                f"content parts of type {part.type} are not supported by this server",
                param=f"{param}.type",
                details={"supported": ["text", "image_url", "refusal"]},
            )
        if getattr(part, part.type) is None:
            raise InvalidInput(
                f"a part of type {part.type} needs {part.type}", param=f"{param}.{part.type}"
            )
        if part.image_url is not None:
            if role != "user":
                raise InvalidInput("only messages of the user may hold pictures", param=param)
            return ImagePart(index=self.images.add(part.image_url.url, f"{param}.image_url.url"))
        return TextPart(text=part.text if part.text is not None else part.refusal or "")

    def _calls(self, given: GivenMessage, param: str) -> list[ToolCall]:
        if given.function_call is not None:
            self._last_call = f"call_{param.rsplit('.', 1)[1]}"
            called = given.function_call
            return [ToolCall(id=self._last_call, name=called.name, arguments=called.arguments)]
        return [
            _call(call, f"{param}.tool_calls.{place}")
            for place, call in enumerate(given.tool_calls or ())
        ]


def _check_fields(given: GivenMessage, param: str) -> None:
    for name, role in OWN_FIELDS.items():
        if getattr(given, name) and given.role != role:
            raise InvalidInput(
                f"{name} belongs into messages of the role {role}", param=f"{param}.{name}"
            )
    if given.audio is not None:
        raise InvalidInput("audio is not supported by this server", param=f"{param}.audio")
    if given.role == "tool" and not given.tool_call_id:
        raise InvalidInput(
            "a tool's answer names the call that it answers", param=f"{param}.tool_call_id"
        )
    may_be_empty = given.tool_calls or given.function_call or given.refusal is not None
    if given.content is None and not may_be_empty and given.role != "function":
        raise InvalidInput(
            f"a message of the role {given.role} needs content", param=f"{param}.content"
        )


def _call(call: GivenCall, param: str) -> ToolCall:
    if call.function is None:
        raise InvalidInput(
            "calls are of type function here, with a function", param=f"{param}.function"
        )
    return ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
