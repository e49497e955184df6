"""What chat templates are given: messages and tools as plain values of the shape they expect."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onebox.core.errors import InvalidInput
from onebox.language.answers.tool_calls import native_format
from onebox.language.messages import ImagePart, Message, Tool, ToolCall

# Mistral's templates take only ids of this length.
MISTRAL_ID_CHARS = 9
TOOLS_TEXT = """# Tools

You may call one or more of these functions to help with the user's request. Each line between \
<tools> and </tools> describes one, with the JSON schema of its arguments:
<tools>
{tools}
</tools>

To call a function, write a JSON object with its name and its arguments between <tool_call> and \
</tool_call>:
<tool_call>
{{"name": "name of the function", "arguments": {{"name of an argument": "its value"}}}}
</tool_call>
The results come back between <tool_response> and </tool_response>."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """
    Attributes:
        messages: as templates take them: role, content, tool_calls …
        tools: as in OpenAI's requests; None: the template is not told of any.
        vision: contents are lists of parts.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    vision: bool

    @property
    def has_system(self) -> bool:
        return any(message["role"] == "system" for message in self.messages)

    @property
    def system(self) -> list[str]:
        """The texts of the system message that comes first, if one does."""
        first = self.messages[0]
        if first["role"] != "system":
            return []
        content = first["content"]
        parts = [content] if isinstance(content, str) else [part.get("text") for part in content]
        return [part.strip() for part in parts if part]


def conversation_of(
    messages: Sequence[Message], tools: Sequence[Tool], template: str, *, vision: bool
) -> Conversation:
    """For this template. One that knows no tools, or shows them in a way of its own, gets tools,
    calls and results as text, in Hermes' form.

    Raises InvalidInput for a picture where the model takes none.
    """
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    known = native_format(template)
    plain = [
        _native(message, names, vision=vision, short_ids=known == "mistral")
        if known
        else _spelled(message, vision=vision)
        for message in messages
    ]
    described = [_described(tool) for tool in tools]
    if described and not known:
        lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in described)
        text = TOOLS_TEXT.format(tools=lines)
        plain.insert(0, {"role": "system", "content": _content([text], vision=vision)})
        if len(plain) > 1 and plain[1]["role"] == "system":
            # What the developer wrote comes first.
            plain[0], plain[1] = plain[1], plain[0]
    joined = _joined(plain)
    return Conversation(joined, described if described and known else None, vision)


def without_system(conversation: Conversation) -> Conversation:
    """With the text of each system message at the beginning of the user message that follows."""
    found: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    for message in conversation.messages:
        if message["role"] == "system":
            waiting.append({**message, "role": "user"})
            continue
        if waiting and message["role"] == "user":
            message = _merged([*waiting, message])
            waiting = []
        found.append(message)
    if waiting:
        found.append(_merged(waiting))
    return replace(conversation, messages=found)


def _native(
    message: Message, names: dict[str, str], *, vision: bool, short_ids: bool
) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message.role, "content": _parts(message, vision=vision)}
    if message.tool_calls:
        plain["tool_calls"] = [_call(call, short_ids=short_ids) for call in message.tool_calls]
    if message.tool_call_id is not None:
        plain["tool_call_id"] = _short(message.tool_call_id, short_ids)
    name = message.name or names.get(message.tool_call_id or "")
    if name is not None:
        plain["name"] = name
    return plain


def _spelled(message: Message, *, vision: bool) -> dict[str, Any]:
    """For a template that knows nothing of calls and results."""
    content = _parts(message, vision=vision)
    if message.role == "tool":
        text = f"<tool_response>\n{_text_of(content)}\n</tool_response>"
        return {"role": "user", "content": _content([text], vision=vision), "is_result": True}
    if message.tool_calls:
        own = _text_of(content)
        calls = [_spelled_call(call) for call in message.tool_calls]
        content = _content(["\n".join([own, *calls] if own else calls)], vision=vision)
    return {"role": message.role, "content": content}


def _call(call: ToolCall, *, short_ids: bool) -> dict[str, Any]:
    return {
        "id": _short(call.id, short_ids),
        "type": "function",
        "function": {"name": call.name, "arguments": _arguments(call)},
    }


def _spelled_call(call: ToolCall) -> str:
    body = {"name": call.name, "arguments": _arguments(call)}
    return f"<tool_call>\n{json.dumps(body, ensure_ascii=False)}\n</tool_call>"


def _arguments(call: ToolCall) -> Any:
    """Templates expect an object; what is none stays text."""
    try:
        value = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return call.arguments
    return value if isinstance(value, dict) else call.arguments


def _described(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description or ""}
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _short(id_: str, short: bool) -> str:
    return hashlib.sha256(id_.encode()).hexdigest()[:MISTRAL_ID_CHARS] if short else id_


def _parts(message: Message, *, vision: bool) -> Any:
    """A text; for a model with eyes, a list of texts and places of pictures."""
    if message.content is None or isinstance(message.content, str):
        return _content([message.content or ""], vision=vision)
    pictures = any(isinstance(part, ImagePart) for part in message.content)
    if pictures and not vision:
        raise InvalidInput("this model cannot see pictures; send text alone", param="messages")
    if not vision:
        return "\n".join(_texts(message))
    parts = [
        {"type": "image"} if isinstance(part, ImagePart) else {"type": "text", "text": part.text}
        for part in message.content
    ]
    return _without_seams(parts) or _content([""], vision=True)


def _without_seams(parts: list[dict[str, str]]) -> list[dict[str, str]]:
    """Texts that follow each other become one: templates put nothing between them, and two halves
    of a control token must not meet there.
    """
    found: list[dict[str, str]] = []
    for part in parts:
        if found and part["type"] == found[-1]["type"] == "text":
            found[-1] = {"type": "text", "text": f"{found[-1]['text']}\n{part['text']}"}
        else:
            found.append(part)
    return found


def _texts(message: Message) -> Iterator[str]:
    for part in message.content or []:
        if not isinstance(part, str | ImagePart):
            yield part.text


def _content(texts: Sequence[str], *, vision: bool) -> Any:
    if vision:
        return [{"type": "text", "text": text} for text in texts]
    return "\n\n".join(texts)


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def _joined(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """System messages that come first become one, and so do results that follow each other."""
    found: list[dict[str, Any]] = []
    for message in messages:
        is_result = message.pop("is_result", False)
        role = message["role"]
        leading = role == "system" and len(found) == 1 and found[0]["role"] == "system"
        if leading or (is_result and found and found[-1].get("is_result")):
            found[-1] = {**_merged([found[-1], message]), "is_result": is_result}
        else:
            found.append({**message, "is_result": is_result})
    return [
        {name: value for name, value in message.items() if name != "is_result"} for message in found
    ]


def _merged(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The last one, with the contents of all of them."""
    contents = [message["content"] for message in messages]
    if all(isinstance(content, str) for content in contents):
        joined: Any = "\n\n".join(content for content in contents if content)
    else:
        joined = _without_seams([part for content in contents for part in content])
    return {**messages[-1], "content": joined}
