"""Credits as an operator changes them: `/v1/keys/{key_id}/credits`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, model_validator

from onebox.api.deps import ServicesDep, UsageDep
from onebox.api.native.credits import PATH, CreditBalance, balance_answer
from onebox.api.routing import AdminRoute
from onebox.services.usage.credits import MAX_CREDITS
from onebox.services.usage.key_names import MAX_NAME_CHARS, existing_caller

router = APIRouter(route_class=AdminRoute, tags=["usage"])

OF_KEY = "/v1/keys/{key_id:path}/credits"
MAX_BALANCES = 1000

Amount = Annotated[float, Field(ge=-MAX_CREDITS, le=MAX_CREDITS, allow_inf_nan=False)]


class CreditPage(BaseModel):
    """`first_id` and `last_id` are keys, by which balances are told apart."""

    object: Literal["list"] = "list"
    data: list[CreditBalance]
    first_id: str | None
    last_id: str | None
    has_more: bool


class CreditRequest(BaseModel, extra="forbid"):
    """One of the two."""

    add: Amount | None = Field(
        default=None, description="Give so many; a negative number takes them."
    )
    set: Amount | None = Field(default=None, description="From now on there are so many.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.add is None) == (self.set is None):
            raise ValueError("give either add or set")
        return self


@router.get(f"{PATH}/balances", summary="All keys that need credits")
async def list_balances(
    usage: UsageDep,
    limit: Annotated[int, Query(ge=1, le=MAX_BALANCES)] = 100,
    after: Annotated[
        str | None,
        Query(max_length=MAX_NAME_CHARS, description="The last `key` of the page before."),
    ] = None,
) -> CreditPage:
    found, has_more = await usage.credits.page(after=after, limit=limit)
    return CreditPage(
        data=[balance_answer(balance) for balance in found],
        first_id=found[0].caller if found else None,
        last_id=found[-1].caller if found else None,
        has_more=has_more,
    )


@router.post(OF_KEY, summary="Change what is left for a key")
async def change_credits(
    key_id: str, body: CreditRequest, services: ServicesDep, usage: UsageDep
) -> CreditBalance:
    """A key that had none before needs credits from now on. `key_id`: the id of a stored key, or
    another caller as `/v1/usage` tells of it.
    """
    caller = await existing_caller(key_id, services.access.keys)
    if body.add is not None:
        return balance_answer(await usage.credits.add(caller, body.add))
    assert body.set is not None
    return balance_answer(await usage.credits.set(caller, body.set))


@router.delete(OF_KEY, summary="Let a key do without credits")
async def remove_credits(key_id: str, services: ServicesDep, usage: UsageDep) -> CreditBalance:
    return balance_answer(
        await usage.credits.remove(await existing_caller(key_id, services.access.keys))
    )
