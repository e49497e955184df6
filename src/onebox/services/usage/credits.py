"""`Credits`: what is left for each caller that has a balance, and how an operator changes it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, delete, insert, select

from onebox.core.errors import InvalidInput
from onebox.services.database import Database
from onebox.services.jobs.ids import new_id
from onebox.services.tables import CREDIT_CHANGES, CREDITS
from onebox.services.usage import rows
from onebox.services.usage.usage import Usage

PREFIX = "credit"
MAX_CREDITS = 1e15
SHOWN_CHANGES = 20

ChangeKind = Literal["add", "set", "remove"]


@dataclass(frozen=True, slots=True)
class Balance:
    """`credits`: None for one that may use the server without any."""

    caller: str
    credits: float | None
    changed_at: float | None = None


@dataclass(frozen=True, slots=True)
class CreditChange:
    """What an operator did. `balance` is what was left then; none of one that was taken away."""

    id: str
    at: float
    kind: ChangeKind
    amount: float | None
    balance: float | None


class Credits:
    """Balances are in the database; those in memory are at most a few seconds older.

    Lives on the gateway's event loop.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._balances: dict[str, float] = {}

    @property
    def are_used(self) -> bool:
        """Whether anybody has a balance."""
        return bool(self._balances)

    def left(self, caller: str) -> float | None:
        """What requests that have ended left of a caller's balance; None without one."""
        return self._balances.get(caller)

    def charge(self, usage: Usage) -> None:
        """In memory; the ledger does it in the database."""
        if usage.caller in self._balances:
            self._balances[usage.caller] -= usage.amounts.credits

    def replace(self, stored: Mapping[str, float], unwritten: Sequence[Usage]) -> None:
        """What the database told, and what is not in it yet."""
        self._balances = dict(stored)
        for usage in unwritten:
            self.charge(usage)

    async def add(self, caller: str, amount: float) -> Balance:
        """Give, or take with a negative amount; who had no balance begins with nothing.

        Raises InvalidInput.
        """
        _check(amount)
        return await self._change(caller, "add", amount)

    async def set(self, caller: str, balance: float) -> Balance:
        """Whatever was left before. Raises InvalidInput."""
        _check(balance)
        return await self._change(caller, "set", balance)

    async def remove(self, caller: str) -> Balance:
        """From now on the caller needs none."""
        return await self._change(caller, "remove", None)

    async def balance(self, caller: str) -> tuple[Balance, list[CreditChange]]:
        """As it is stored, with the last changes, the newest first."""

        def read(connection: Connection) -> tuple[Balance, list[CreditChange]]:
            return _load(connection, caller), _changes(connection, caller)

        return await self._database.read(read)

    async def page(self, *, after: str | None, limit: int) -> tuple[list[Balance], bool]:
        """Callers that have a balance, by their names, and whether there are more."""

        def read(connection: Connection) -> list[Balance]:
            query = select(CREDITS).order_by(CREDITS.c.caller).limit(limit + 1)
            if after is not None:
                query = query.where(CREDITS.c.caller > after)
            return [_balance(row) for row in connection.execute(query)]

        found = await self._database.read(read)
        return found[:limit], len(found) > limit

    async def _change(self, caller: str, kind: ChangeKind, amount: float | None) -> Balance:
        now, stored_as = self._clock(), rows.text_of(caller)
        balance = await self._database.write(
            lambda connection: change(connection, stored_as, kind, amount, now)
        )
        if balance.credits is None:
            self._balances.pop(caller, None)
        else:
            # Charges that wait to be written are taken off at the next look.
            self._balances[caller] = balance.credits
        return balance


def change(
    connection: Connection, caller: str, kind: ChangeKind, amount: float | None, now: float
) -> Balance:
    """One change, with its line in the list of changes."""
    if kind == "remove":
        connection.execute(delete(CREDITS).where(CREDITS.c.caller == caller))
        after = Balance(caller, None, now)
    else:
        after = _raised(connection, caller, kind, amount or 0.0, now)
    row = {
        "id": new_id(PREFIX),
        "at": now,
        "caller": caller,
        "kind": kind,
        "amount": amount,
        "balance": after.credits,
    }
    connection.execute(insert(CREDIT_CHANGES).values(row))
    return after


def _raised(
    connection: Connection, caller: str, kind: ChangeKind, amount: float, now: float
) -> Balance:
    # One statement: another server may give the same caller its first credits meanwhile.
    first = {"caller": caller, "balance": amount, "changed_at": now}
    statement = rows.inserting(connection.dialect.name, CREDITS).values(first)
    new = CREDITS.c.balance + amount if kind == "add" else amount
    changed = {"balance": new, "changed_at": now}
    connection.execute(statement.on_conflict_do_update(index_elements=["caller"], set_=changed))
    return _load(connection, caller)


def _load(connection: Connection, caller: str) -> Balance:
    query = select(CREDITS).where(CREDITS.c.caller == rows.text_of(caller))
    row = connection.execute(query).one_or_none()
    return Balance(caller, None) if row is None else _balance(row)


def _balance(row: Any) -> Balance:
    return Balance(row.caller, row.balance, row.changed_at)


def _changes(connection: Connection, caller: str) -> list[CreditChange]:
    of_caller = CREDIT_CHANGES.c.caller == rows.text_of(caller)
    query = select(CREDIT_CHANGES).where(of_caller)
    newest = query.order_by(CREDIT_CHANGES.c.id.desc()).limit(SHOWN_CHANGES)
    return [
        CreditChange(row.id, row.at, row.kind, row.amount, row.balance)
        for row in connection.execute(newest)
    ]


def _check(amount: float) -> None:
    if not math.isfinite(amount) or abs(amount) > MAX_CREDITS:
        raise InvalidInput(f"credits must be a number of at most {MAX_CREDITS:g}", param="credits")
