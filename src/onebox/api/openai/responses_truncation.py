"""`truncation: auto`: the oldest items give way when a conversation is too long."""

from __future__ import annotations

from collections.abc import Sequence

from onebox.api.openai.responses_items import Item
from onebox.api.openai.responses_messages import Placed
from onebox.core.errors import ContextOverflow

# What a picture weighs, and the marks around an item, in characters.
PICTURE_CHARS = 2000
ITEM_CHARS = 16
KEPT_ROLES = ("system", "developer")


def without_oldest(placed: Sequence[Placed], overflow: ContextOverflow) -> list[Placed] | None:
    """What is left without about as much as was too long; None when nothing more can go.

    Never the last item, nor messages of the system; the output of a call goes with the call.
    """
    weights = [_chars(one.item) for one in placed]
    excess_chars = _excess(overflow) * sum(weights)
    kept: list[Placed] = []
    dropped: set[str] = set()
    for place, one in enumerate(placed):
        is_last = place == len(placed) - 1
        call_id = one.item.get("call_id")
        if call_id in dropped and one.item["type"] == "function_call_output":
            if is_last:
                return None
            excess_chars -= weights[place]
        elif excess_chars > 0 and not is_last and one.item.get("role") not in KEPT_ROLES:
            excess_chars -= weights[place]
            if call_id is not None:
                dropped.add(call_id)
        else:
            kept.append(one)
    return kept if len(kept) < len(placed) else None


def _excess(overflow: ContextOverflow) -> float:
    """The share of the prompt that is too much; more than none."""
    told = overflow.details
    prompt = max(told.get("prompt_tokens") or 0, 1)
    limit = told.get("context_length") or 0
    too_many = prompt + (told.get("max_tokens") or 1) - limit
    return min(max(too_many / prompt, 1e-6), 1.0)


def _chars(item: Item) -> int:
    texts = [item.get(name) for name in ("content", "output", "arguments", "name")]
    return ITEM_CHARS + sum(_text_chars(text) for text in texts)


def _text_chars(text: object) -> int:
    if isinstance(text, str):
        return len(text)
    if not isinstance(text, list):
        return 0
    return sum(
        PICTURE_CHARS
        if part["type"] == "input_image"
        else len(part.get("text") or part.get("refusal") or "")
        for part in text
    )
