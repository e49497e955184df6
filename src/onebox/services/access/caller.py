"""Who sends a request, and what an operator lets them do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from onebox.core.errors import Forbidden

Scope = Literal["infer", "manage", "admin"]
SCOPES: frozenset[str] = frozenset(get_args(Scope))


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one caller may take; None: as the server's settings say, or any number.

    Attributes:
        models: names, ids or aliases of the models that may be used; None: all.
        requests_per_minute, tokens_per_minute: rates.
        max_concurrent: requests that may wait or run at a time.
        daily, monthly: the most of each unit (services/usage) in a day and a month of UTC.
    """

    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None
    daily: Mapping[str, float] = field(default_factory=dict)
    monthly: Mapping[str, float] = field(default_factory=dict)


UNLIMITED = Allowance()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request. `id` never contains the secret.

    Attributes:
        user_id: for whom, as the operator's backend knows them, where a request says so.
    """

    id: str
    scopes: frozenset[str]
    allowance: Allowance = UNLIMITED
    user_id: str | None = None

    def may(self, scope: Scope) -> bool:
        """`admin` includes the others."""
        return scope in self.scopes or "admin" in self.scopes

    def require(self, scope: Scope) -> None:
        """Raises Forbidden without the scope."""
        if not self.may(scope):
            raise Forbidden(f"this needs the scope {scope}", details={"needed": scope})
