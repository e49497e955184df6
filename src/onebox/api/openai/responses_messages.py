"""The items of a conversation as messages of the chat task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from onebox.api.openai.chat_messages import ROLES
from onebox.api.openai.image_inputs import ImageInputs
from onebox.api.openai.responses_items import Item
from onebox.core.errors import InvalidInput
from onebox.language.messages import ImagePart, Message, TextPart, ToolCall

Content = str | list[TextPart | ImagePart]


@dataclass(frozen=True, slots=True)
class Placed:
    """An item, and where the request named it."""

    item: Item
    param: str


@dataclass(slots=True)
class Messages:
    """Messages for the chat task, and the pictures that their parts number."""

    list: list[Message] = field(default_factory=list)
    images: ImageInputs = field(default_factory=ImageInputs)


def messages_of(instructions: str | None, placed: Iterable[Placed]) -> Messages:
    """Raises InvalidInput with the place of what cannot be used."""
    messages = Messages()
    calls: dict[str, str] = {}
    if instructions is not None:
        messages.list.append(_message("system", instructions))
    for one in placed:
        item, kind = one.item, one.item["type"]
        if kind == "message":
            content = _content(item["content"], one.param, messages.images)
            messages.list.append(_message(item["role"], content))
        elif kind == "function_call":
            calls[item["call_id"]] = item["name"]
            _add_call(messages.list, item)
        elif kind == "function_call_output":
            messages.list.append(_answered(one, calls, messages.images))
    if not messages.list:
        raise InvalidInput("input holds nothing to answer", param="input")
    return messages


def _add_call(messages: list[Message], item: Item) -> None:
    """To the message of the same turn, if the model wrote one."""
    call = ToolCall(id=item["call_id"], name=item["name"], arguments=item["arguments"])
    if messages and messages[-1].role == "assistant":
        messages[-1].tool_calls = [*messages[-1].tool_calls, call]
    else:
        messages.append(_message("assistant", None))
        messages[-1].tool_calls = [call]


def _answered(placed: Placed, calls: dict[str, str], images: ImageInputs) -> Message:
    item = placed.item
    call_id = item["call_id"]
    if call_id not in calls:
        raise InvalidInput(
            f"no function_call before it has the call_id {call_id}",
            param=f"{placed.param}.call_id",
        )
    output = item["output"]
    content = output if isinstance(output, str) else _content(output, placed.param, images)
    message = _message("tool", content)
    message.tool_call_id, message.name = call_id, calls[call_id]
    return message


def _message(role: str, content: Content | None) -> Message:
    return Message(role=ROLES[role], content=content, tool_calls=[], tool_call_id=None, name=None)


def _content(parts: Sequence[Item], param: str, images: ImageInputs) -> Content:
    made = [_part(part, f"{param}.content.{place}", images) for place, part in enumerate(parts)]
    # One text is plain text, in whichever way it was sent.
    first = made[0]
    return first.text if len(made) == 1 and isinstance(first, TextPart) else made


def _part(part: Item, param: str, images: ImageInputs) -> TextPart | ImagePart:
    if part["type"] == "input_image":
        return ImagePart(index=images.add(part["image_url"], f"{param}.image_url"))
    return TextPart(text=part["refusal"] if part["type"] == "refusal" else part["text"])
