"""Lists in pages, as OpenAI's clients go through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query

from onebox.core.errors import InvalidInput
from onebox.services.database import Order

MAX_LIMIT = 100

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[str | None, Query(max_length=128)]


def page(
    items: Sequence[dict[str, Any]],
    *,
    order: Order,
    limit: int,
    after: str | None = None,
    before: str | None = None,
) -> dict[str, Any]:
    """The part of a list, oldest first, that comes after one item or before one in that order.

    Raises InvalidInput for a cursor that is the id of none of them.
    """
    ordered = list(items) if order == "asc" else list(items)[::-1]
    begin = 0 if after is None else _place(ordered, after, "after") + 1
    end = len(ordered) if before is None else _place(ordered, before, "before")
    found = ordered[begin:end]
    # Those before a place are the ones nearest to it.
    part = found[-limit:] if before is not None and after is None else found[:limit]
    return listing(part, has_more=len(found) > len(part))


def listing(part: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A part of a list as it is answered."""
    return {
        "object": "list",
        "data": part,
        "first_id": part[0]["id"] if part else None,
        "last_id": part[-1]["id"] if part else None,
        "has_more": has_more,
    }


def _place(items: Sequence[dict[str, Any]], item_id: str, param: str) -> int:
    for place, item in enumerate(items):
        if item["id"] == item_id:
            return place
    raise InvalidInput(f"{param}: the list has no item {item_id}", param=param)
