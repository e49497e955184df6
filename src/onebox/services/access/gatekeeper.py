"""`Gatekeeper`: whether a caller may have a new request done (step 4 of the path)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from onebox.core.contracts import Entry, Task
from onebox.core.logs import current_origin
from onebox.services.access.caller import Caller
from onebox.services.hooks.credits import CreditCheck
from onebox.services.usage.holds import Hold
from onebox.services.usage.ledger import Ledger
from onebox.services.usage.quotas import Quotas


class Gatekeeper:
    """Asked once about each new request, when its model is known. What was accepted as a job is not
    asked about again when its turn has come.

    Args:
        credits: asks the operator's backend; None where there is none.
    """

    def __init__(self, ledger: Ledger, quotas: Quotas, credits: CreditCheck | None = None) -> None:
        self._ledger = ledger
        self._quotas = quotas
        self._credits = credits

    async def admit(
        self, task: Task[Any], entry: Entry, caller: Caller, request: BaseModel | None = None
    ) -> Hold | None:
        """What the request will take of what is left for its caller, if that is bounded.

        `request` is the task's input.

        Raises ModelNotAllowed, QuotaExceeded, InsufficientCredits, StorageFull, BackendUnavailable.
        """
        if not task.is_counted:
            return None
        self._ledger.require_room()
        if self._credits is not None:
            request_id = current_origin().request_id
            await self._credits.check(caller, task.name, entry.name, request_id)
        return self._quotas.hold(caller, task.name, entry.name, request)

    async def close(self) -> None:
        if self._credits is not None:
            await self._credits.close()
