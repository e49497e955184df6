"""What a backend may answer, and what it means. Names that backends use already are understood."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec

from onebox.core.usage_units import UNITS
from onebox.services.access.caller import Allowance, Caller
from onebox.services.outgoing.client import BadAnswer

MAX_ID_CHARS = 120
PREFIX = "backend:"
DEFAULT_SCOPES = frozenset({"infer"})

Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Id = str | int
T = TypeVar("T")


class BadCaller(BadAnswer):
    """It is about one caller, who may have chosen the name: of others it tells nothing."""


class _User(msgspec.Struct):
    id: Id | None = None
    user_id: Id | None = None
    pk: Id | None = None
    username: str | None = None

    def named(self) -> Id | None:
        return _first(self.id, self.user_id, self.pk, self.username)


class _Verdict(msgspec.Struct):
    """`active`, `scope` and `sub` as in RFC 7662. Both of the first must be clear where they are
    told: a null is no yes.
    """

    valid: bool = True
    active: bool = True
    caller: Id | None = None
    user_id: Id | None = None
    sub: Id | None = None
    id: Id | None = None
    user: _User | Id | None = None
    username: str | None = None
    scopes: list[str] | str | None = None
    scope: list[str] | str | None = None
    models: list[str] | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    max_concurrent: Count | None = None
    daily: dict[str, Amount] | None = None
    monthly: dict[str, Amount] | None = None


class _CreditAnswer(msgspec.Struct):
    allowed: bool | msgspec.UnsetType = msgspec.UNSET
    has_credits: bool | msgspec.UnsetType = msgspec.UNSET
    # As text where a backend counts in decimals.
    balance: float | str | None = None


@dataclass(frozen=True, slots=True)
class Credit:
    """Whether a caller may have one more request; `balance` where the backend tells it."""

    allowed: bool
    balance: float | None = None


def read_verdict(body: bytes, unnamed: str, granted: Collection[str]) -> Caller | None:
    """Who a token belongs to; None when it is not valid. An answer without a body means valid.

    Args:
        unnamed: the id of a caller that the answer does not name.
        granted: the scopes that the backend may grant.

    Raises BadAnswer.
    """
    answer = decoded(body, _Verdict)
    if not (answer.valid and answer.active):
        return None
    named = answer.user.named() if isinstance(answer.user, _User) else answer.user
    found = _first(answer.caller, answer.user_id, answer.sub, answer.id, named, answer.username)
    allowance = Allowance(
        models=None if answer.models is None else tuple(answer.models),
        requests_per_minute=answer.requests_per_minute,
        tokens_per_minute=answer.tokens_per_minute,
        max_concurrent=answer.max_concurrent,
        daily=_amounts(answer.daily),
        monthly=_amounts(answer.monthly),
    )
    scopes = answer.scope if answer.scopes is None else answer.scopes
    return Caller(
        PREFIX + _id(unnamed if found is None else found), _granted(scopes, granted), allowance
    )


def read_credit(body: bytes) -> Credit:
    """An answer without a body means allowed. Raises BadAnswer."""
    answer = decoded(body, _CreditAnswer)
    balance = _number(answer.balance)
    allowed = answer.has_credits if answer.allowed is msgspec.UNSET else answer.allowed
    if allowed is msgspec.UNSET:
        allowed = balance is None or balance > 0
    return Credit(allowed, balance)


def decoded(body: bytes, type_: type[T]) -> T:
    """Without a body as with an empty object. Raises BadAnswer."""
    try:
        return msgspec.json.decode(body.strip() or b"{}", type=type_)
    except msgspec.ValidationError as error:
        # It names the field and the types, and quotes nothing.
        raise BadAnswer(f"the answer is not as documented: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadAnswer("the answer is not JSON") from None


def _first(*ids: Id | None) -> Id | None:
    return next((value for value in ids if value is not None), None)


def is_caller_id(text: str) -> bool:
    """Whether a caller may be called that."""
    return bool(text) and len(text) <= MAX_ID_CHARS and text.isprintable()


def _id(value: Id) -> str:
    text = str(value)
    if not is_caller_id(text):
        raise BadCaller(f"the answer names a caller by other than 1 to {MAX_ID_CHARS} characters")
    return text


def _granted(told: list[str] | str | None, granted: Collection[str]) -> frozenset[str]:
    """Those that are known and may be granted; `infer` where the answer says nothing."""
    names = told.split() if isinstance(told, str) else told
    return (DEFAULT_SCOPES if names is None else frozenset(names)) & frozenset(granted)


def _amounts(told: Mapping[str, float] | None) -> Mapping[str, float]:
    for unit in told or {}:
        if unit not in UNITS:
            raise BadAnswer(f"the answer has a quota in other than {', '.join(UNITS)}")
    return told or {}


def _number(value: float | str | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadAnswer("the answer has a balance that is no number")
    return number
