"""`/v1/credits`: what is left for a key."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from onebox.api.deps import CallerDep, UsageDep
from onebox.api.native.usage import Text, whose
from onebox.api.routing import Route
from onebox.services.usage.credits import Balance, CreditChange

router = APIRouter(route_class=Route, tags=["usage"])

PATH = "/v1/credits"


class CreditBalance(BaseModel):
    object: Literal["credits"] = "credits"
    key: str
    credits: float | None = Field(description="null: this key needs none.")
    changed_at: float | None = Field(default=None, description="In seconds since 1970.")


class ChangeAnswer(BaseModel):
    id: str
    at: float = Field(description="In seconds since 1970.")
    kind: Literal["add", "set", "remove"]
    amount: float | None
    balance: float | None = Field(description="What was left then.")


class CreditAnswer(CreditBalance):
    changes: list[ChangeAnswer] = Field(
        description="What an operator did, the newest first. What requests cost, /v1/usage tells."
    )


@router.get(PATH, summary="What is left for a key")
async def get_credits(usage: UsageDep, caller: CallerDep, key: Text = None) -> CreditAnswer:
    """Your own; with the scope `admin`, that of any `key`."""
    asked = caller.id if key is None else whose(caller, key) or caller.id
    balance, changes = await usage.credits.balance(asked)
    return CreditAnswer(
        **balance_answer(balance).model_dump(), changes=[_change(change) for change in changes]
    )


def balance_answer(balance: Balance) -> CreditBalance:
    return CreditBalance(key=balance.caller, credits=balance.credits, changed_at=balance.changed_at)


def _change(change: CreditChange) -> ChangeAnswer:
    return ChangeAnswer(
        id=change.id,
        at=change.at,
        kind=change.kind,
        amount=change.amount,
        balance=change.balance,
    )
