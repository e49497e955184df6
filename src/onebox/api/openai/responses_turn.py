"""A request to `/v1/responses` as the chat task takes it, with all that it continues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onebox.api.bodies import filled
from onebox.api.openai.responses_fields import (
    InputTokensRequest,
    ResponsesRequest,
    TurnFields,
    response_format_of,
    tools_of,
)
from onebox.api.openai.responses_items import Item, parse_items
from onebox.api.openai.responses_messages import Placed, messages_of
from onebox.api.openai.responses_truncation import without_oldest
from onebox.api.openai.text_fields import sampling_of
from onebox.bootstrap import Services
from onebox.core.errors import ContextOverflow, InvalidInput, PayloadTooLarge
from onebox.services.access.caller import Caller
from onebox.services.request import Options, Prepared
from onebox.services.response_rows import Conversation
from onebox.tasks.chat import ChatInput
from onebox.tasks.tokens import TokenizeInput

MAX_STORED_BYTES = 32 * 1024 * 1024
# Of what a turn refers to.
MAX_REFERRED_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Turn:
    """One response to be made.

    Attributes:
        own: the items that it adds to the conversation.
        placed: what the model is shown; fewer than there are once it was `shortened`.
    """

    body: ResponsesRequest
    caller: Caller
    options: Options
    conversation: Conversation
    own: tuple[Item, ...]
    placed: tuple[Placed, ...]
    prepared: Prepared

    def renamed(self, client_id: str) -> Turn:
        """The same, known to the client by another name among what runs."""
        options = replace(self.options, client_id=client_id)
        return replace(self, options=options, prepared=replace(self.prepared, options=options))


async def begin_turn(
    body: ResponsesRequest, services: Services, caller: Caller, options: Options
) -> Turn:
    """Raises what the checks of the request, the store and the model raise."""
    conversation, own = await _read_input(body, services, caller)
    if body.is_stored:
        _require_size(own)
    placed = _placed(conversation, own)
    prepared = await _prepare(body, placed, services, caller, options)
    return Turn(body, caller, options, conversation, tuple(own), placed, prepared)


async def shortened(turn: Turn, services: Services, overflow: ContextOverflow) -> Turn:
    """The same with the oldest items left out. Raises the overflow when none can be."""
    kept = without_oldest(turn.placed, overflow)
    if kept is None:
        raise overflow
    placed = tuple(kept)
    prepared = await _prepare(turn.body, placed, services, turn.caller, turn.options)
    return replace(turn, placed=placed, prepared=prepared)


async def count_tokens(
    body: InputTokensRequest, services: Services, caller: Caller, options: Options
) -> Prepared:
    """The request that counts what a response would take. Raises as `begin_turn` does."""
    if body.conversation is not None or body.tools:
        name = "tools" if body.tools else "conversation"
        raise InvalidInput(f"{name} cannot be counted by this server", param=name)
    conversation, own = await _read_input(body, services, caller)
    messages = messages_of(body.instructions, _placed(conversation, own))
    if len(messages.images):
        raise InvalidInput("pictures cannot be counted by this server", param="input")
    task_input = filled(TokenizeInput, messages=messages.list)
    return await services.inference.prepare(
        "tokenize", task_input, model=body.model, caller=caller, options=options
    )


async def _read_input(
    body: TurnFields, services: Services, caller: Caller
) -> tuple[Conversation, list[Item]]:
    given = parse_items(body.input)
    conversation = Conversation()
    if body.previous_response_id is not None:
        conversation = await services.responses.conversation(body.previous_response_id, caller.id)
    known = {item["id"] for item in conversation.items}
    own, left = [], MAX_REFERRED_BYTES
    for place, item in enumerate(given):
        if item["type"] == "item_reference":
            param = f"input.{place}.id"
            item = await _referred(item["id"], param, known, services, caller)
            known.add(item["id"])
            left -= _chars(item)
            if left < 0:
                raise PayloadTooLarge(
                    f"the items referred to take more than {MAX_REFERRED_BYTES} bytes",
                    param=param,
                    details={"max_bytes": MAX_REFERRED_BYTES},
                )
        own.append(item)
    return conversation, own


async def _referred(
    item_id: str, param: str, known: set[str], services: Services, caller: Caller
) -> Item:
    if item_id in known:
        raise InvalidInput(f"the item {item_id} is part of the conversation already", param=param)
    item = await services.responses.item(item_id, caller.id)
    if item is None:
        raise InvalidInput(f"Item with id '{item_id}' not found.", param=param)
    return item


def _placed(conversation: Conversation, own: Sequence[Item]) -> tuple[Placed, ...]:
    before = [Placed(item, "previous_response_id") for item in conversation.items]
    return (*before, *(Placed(item, f"input.{place}") for place, item in enumerate(own)))


def _require_size(items: Sequence[Item]) -> None:
    """Raises PayloadTooLarge for an input that is too large to be stored."""
    size_bytes = sum(_chars(item) for item in items)
    if size_bytes > MAX_STORED_BYTES:
        raise PayloadTooLarge(
            f"the input takes {size_bytes} bytes, at most {MAX_STORED_BYTES} are stored; "
            "send store=false, or smaller pictures",
            param="input",
            details={"size_bytes": size_bytes, "max_bytes": MAX_STORED_BYTES},
        )


def _chars(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(_chars(inner) for inner in value.values())
    return sum(_chars(inner) for inner in value) if isinstance(value, list) else 0


async def _prepare(
    body: ResponsesRequest,
    placed: Sequence[Placed],
    services: Services,
    caller: Caller,
    options: Options,
) -> Prepared:
    messages = messages_of(body.instructions, placed)
    images = await messages.images.load(services.remote_media)
    tooling = tools_of(body)
    task_input = filled(
        ChatInput,
        messages=messages.list,
        images=images,
        tools=tooling.tools,
        tool_choice=tooling.tool_choice,
        allowed_tools=tooling.allowed_tools,
        parallel_tool_calls=tooling.parallel_tool_calls,
        response_format=response_format_of(body.text),
        max_tokens=body.max_output_tokens,
        top_logprobs=body.wanted_logprobs,
        **sampling_of(body),
    )
    return await services.inference.prepare(
        "chat", task_input, model=body.model, caller=caller, options=options
    )
