"""The items that go into a response: checked, and in the one form in which they are stored."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from onebox.core.errors import InvalidInput
from onebox.language.messages import Text, ToolName

Item = dict[str, Any]
MAX_PARTS = 1024

# PostgreSQL has no texts with a zero in them.
ItemId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00]+$")]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _InputText(_Strict):
    type: Literal["input_text"]
    text: Text
    prompt_cache_breakpoint: Any = None


class _OutputText(_Strict):
    """`annotations` and `logprobs` are what clients copy from an answer."""

    type: Literal["output_text"]
    text: Text
    annotations: Any = None
    logprobs: Any = None
    parsed: Any = None


class _Refusal(_Strict):
    type: Literal["refusal"]
    refusal: Text


class _InputImage(_Strict):
    """`detail` is accepted, without effect."""

    type: Literal["input_image"]
    image_url: str | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None
    file_id: str | None = None
    prompt_cache_breakpoint: Any = None


class _Message(_Strict):
    type: Literal["message"]
    role: Literal["user", "assistant", "system", "developer"]
    content: Text | list[dict[str, Any]]
    id: ItemId | None = None
    status: ItemStatus | None = None
    phase: str | None = Field(None, max_length=32)


class _FunctionCall(_Strict):
    type: Literal["function_call"]
    call_id: str = Field(min_length=1, max_length=128)
    name: ToolName
    arguments: Text
    id: ItemId | None = None
    status: ItemStatus | None = None
    parsed_arguments: Any = None


class _FunctionCallOutput(_Strict):
    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1, max_length=128)
    output: Text | list[dict[str, Any]]
    id: ItemId | None = None
    status: ItemStatus | None = None


class _Thought(_Strict):
    type: Literal["summary_text", "reasoning_text"]
    text: Text


class _Reasoning(_Strict):
    """A model's thoughts of an earlier turn, as an answer held them; not shown to it again."""

    type: Literal["reasoning"]
    id: ItemId | None = None
    summary: list[_Thought] = Field([], max_length=MAX_PARTS)
    content: list[_Thought] = Field([], max_length=MAX_PARTS)
    status: ItemStatus | None = None


class _ItemReference(_Strict):
    type: Literal["item_reference"]
    id: ItemId


ITEMS: Mapping[str, type[BaseModel]] = {
    "message": _Message,
    "function_call": _FunctionCall,
    "function_call_output": _FunctionCallOutput,
    "reasoning": _Reasoning,
    "item_reference": _ItemReference,
}
PARTS: Mapping[str, type[BaseModel]] = {
    "input_text": _InputText,
    "output_text": _OutputText,
    "refusal": _Refusal,
    "input_image": _InputImage,
}
PREFIXES: Mapping[str, str] = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}
# What parts a message of a role may hold.
PARTS_OF_ROLE: Mapping[str, Sequence[str]] = {
    "user": ("input_text", "input_image"),
    "system": ("input_text",),
    "developer": ("input_text",),
    "assistant": ("output_text", "refusal", "input_text"),
}
PARTS_OF_OUTPUT = ("input_text", "input_image")


def new_id(kind: str) -> str:
    """For an item of that type."""
    return f"{PREFIXES[kind]}_{secrets.token_hex(16)}"


def parse_items(given: str | Sequence[Mapping[str, Any]]) -> list[Item]:
    """The items of a request's `input`; references as they are, all others complete.

    Raises InvalidInput with the place of what cannot be used.
    """
    if isinstance(given, str):
        given = [{"type": "message", "role": "user", "content": given}]
    return [_item(item, f"input.{place}") for place, item in enumerate(given)]


def _item(given: Mapping[str, Any], param: str) -> Item:
    kind = given.get("type", "message" if "role" in given else None)
    item = _checked({**given, "type": kind}, ITEMS, "items", param)
    if kind == "item_reference":
        return item
    item.update(id=item.get("id") or new_id(item["type"]), status="completed")
    if kind == "message":
        role = item["role"]
        item["content"] = _content(item["content"], PARTS_OF_ROLE[role], param)
    elif kind == "function_call_output" and not isinstance(item["output"], str):
        item["output"] = _content(item["output"], PARTS_OF_OUTPUT, param, "output")
    item.pop("parsed_arguments", None)
    return item


def _content(
    given: str | list[dict[str, Any]], kinds: Sequence[str], param: str, field: str = "content"
) -> list[Item]:
    if isinstance(given, str):
        given = [{"type": kinds[0], "text": given}]
    if not 1 <= len(given) <= MAX_PARTS:
        raise InvalidInput(
            f"{field} has {len(given)} parts; 1 to {MAX_PARTS} may be sent",
            param=f"{param}.{field}",
            details={"min": 1, "max": MAX_PARTS},
        )
    known = {kind: PARTS[kind] for kind in kinds}
    return [
        _part(_checked(part, known, "parts", f"{param}.{field}.{place}"), param)
        for place, part in enumerate(given)
    ]


def _part(part: Item, param: str) -> Item:
    if part["type"] == "input_image" and (part.get("file_id") or not part.get("image_url")):
        raise InvalidInput(
            "a picture is given by image_url; file_id is not supported by this server",
            param=f"{param}.file_id" if part.get("file_id") else f"{param}.image_url",
        )
    if part["type"] == "output_text":
        return {"type": "output_text", "text": part["text"], "annotations": []}
    part.pop("prompt_cache_breakpoint", None)
    return part


def _checked(
    given: Mapping[str, Any], models: Mapping[str, type[BaseModel]], what: str, param: str
) -> Item:
    """The fields that are set. Raises InvalidInput."""
    kind = given.get("type")
    model = models.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise InvalidInput(
            f"{what} of type {str(kind)[:64]!r} are not supported here",
            param=f"{param}.type",
            details={"supported": list(models)},
        )
    # SDKs send back null for what an answer left out.
    fields = {name: value for name, value in given.items() if value is not None}
    try:
        return model.model_validate(fields).model_dump(exclude_none=True)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(step) for step in problem["loc"])
        raise InvalidInput(
            f"{place or what}: {problem['msg']}", param=f"{param}.{place}" if place else param
        ) from None
