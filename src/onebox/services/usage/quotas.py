"""`Quotas`: whether a caller may take more today, this month, and of its credits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

from pydantic import BaseModel

from onebox.core.errors import InsufficientCredits, QuotaExceeded
from onebox.services.access.caller import Caller
from onebox.services.usage.credits import Credits
from onebox.services.usage.holds import Hold, Holds
from onebox.services.usage.task_units import units_of
from onebox.services.usage.totals import Period, Totals
from onebox.services.usage.usage import Amounts

# When requests that run now may take the rest, but have not yet.
SOON_S = 5.0

Limits = Mapping[str, float]


class Quotas:
    """Lives on the gateway's event loop.

    Args:
        daily, monthly: the most of each unit for callers that have no bound of it of their own.
    """

    def __init__(
        self,
        totals: Totals,
        credits: Credits,
        holds: Holds,
        *,
        daily: Limits,
        monthly: Limits,
    ) -> None:
        self._totals = totals
        self._credits = credits
        self._holds = holds
        self._defaults: dict[Period, Limits] = {"day": daily, "month": monthly}
        self._has_bounded = False

    def hold(
        self, caller: Caller, task: str, model: str, request: BaseModel | None = None
    ) -> Hold | None:
        """What a new request will take, set aside until it has ended; None for whom nothing is
        bounded. Only bounds of what the task takes can refuse it; `request` is the task's input.

        Raises QuotaExceeded, InsufficientCredits.
        """
        left = self._credits.left(caller.id)
        limits = {period: self._limits(caller, period) for period in get_args(Period)}
        if left is None and not any(limits.values()):
            return None
        held = self._holds.held(caller.id)
        for period, bounds in limits.items():
            taken = {unit: bounds[unit] for unit in bounds if unit in units_of(task)}
            self._check_quota(caller.id, period, taken, held)
        if left is not None:
            _check_credits(left, held.credits)
        return self._holds.hold(caller.id, task, model, request)

    @property
    def are_used(self) -> bool:
        """Whether somebody is bounded, so that jobs that wait must be known."""
        return self._has_bounded or self._credits.are_used or any(self._defaults.values())

    def of(self, caller: Caller) -> dict[str, list[dict[str, Any]]]:
        """The caller's bounds, and how far it is."""
        told: dict[str, list[dict[str, Any]]] = {}
        for period in get_args(Period):
            used = self._totals.of(caller.id, period).by_unit()
            told[period] = [
                {"unit": unit, "limit": limit, "used": used[unit]}
                for unit, limit in self._limits(caller, period).items()
            ]
        return told

    def _limits(self, caller: Caller, period: Period) -> Limits:
        own = caller.allowance.daily if period == "day" else caller.allowance.monthly
        if own:
            self._has_bounded = True
        default = self._defaults[period]
        return {**default, **own} if own and default else own or default

    def _check_quota(self, caller: str, period: Period, bounds: Limits, held: Amounts) -> None:
        if not bounds:
            return
        used, running = self._totals.of(caller, period).by_unit(), held.by_unit()
        for unit, limit in bounds.items():
            if used[unit] >= limit:
                raise self._exceeded(period, unit, limit, used[unit])
            if used[unit] + running[unit] >= limit:
                raise self._taken(period, unit, limit, used[unit], running[unit])

    def _exceeded(self, period: Period, unit: str, limit: float, used: float) -> QuotaExceeded:
        now = self._totals.now
        resets_at = now.end_of(period)
        return QuotaExceeded(
            f"{used:.6g} of {limit:g} {unit} of this {period} are used; "
            f"more can be had from {_time(resets_at)} on, or ask for a larger quota",
            details=_details(period, unit, limit, used, resets_at),
            retry_after_s=self._totals.seconds_until(resets_at),
            # A client that waits by itself would wait for hours.
            should_retry=False,
        )

    def _taken(
        self, period: Period, unit: str, limit: float, used: float, held: float
    ) -> QuotaExceeded:
        resets_at = self._totals.now.end_of(period)
        return QuotaExceeded(
            f"{used:.6g} of {limit:g} {unit} of this {period} are used, and what runs or waits "
            f"now may take the rest; try again when it has ended",
            details={**_details(period, unit, limit, used, resets_at), "held": held},
            retry_after_s=SOON_S,
        )


def _details(
    period: Period, unit: str, limit: float, used: float, resets_at: float
) -> dict[str, Any]:
    return {
        "unit": unit,
        "period": period,
        "limit": limit,
        "used": used,
        "resets_at": int(resets_at),
    }


def _check_credits(left: float, held: float) -> None:
    if left - held > 0:
        return
    if left > 0:
        raise InsufficientCredits(
            f"{left:.6g} credits are left, and what runs or waits now may take them; "
            "try again when it has ended, or add credits",
            details={"credits": left, "held": held},
        )
    raise InsufficientCredits(
        f"{max(left, 0.0):g} credits are left; add credits to go on", details={"credits": left}
    )


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
