"""`create_usage`: joins what counts requests, bounds them and charges for them."""

from __future__ import annotations

from dataclasses import dataclass

from onebox.core.settings import Settings
from onebox.services.access.access import Access
from onebox.services.access.gatekeeper import Gatekeeper
from onebox.services.database import Database
from onebox.services.hooks.creation import create_credit_check
from onebox.services.metrics import Metrics
from onebox.services.usage.credits import Credits
from onebox.services.usage.holds import Holds
from onebox.services.usage.ledger import Counters, Ledger
from onebox.services.usage.prices import Prices
from onebox.services.usage.quotas import Quotas
from onebox.services.usage.report import Report
from onebox.services.usage.totals import Totals
from onebox.services.usage.upkeep import Upkeep


@dataclass(frozen=True, slots=True)
class UsageServices:
    """What requests took, and what they may take."""

    ledger: Ledger
    quotas: Quotas
    credits: Credits
    report: Report
    gatekeeper: Gatekeeper
    upkeep: Upkeep

    async def start(self) -> None:
        """Before the first request."""
        await self.upkeep.start()
        await self.ledger.start()

    async def close(self) -> None:
        """After the last request; all usage is in the database on return."""
        await self.gatekeeper.close()
        await self.upkeep.close()
        await self.ledger.close()


def create_usage(
    settings: Settings, database: Database, metrics: Metrics, access: Access
) -> UsageServices:
    """Nothing is written before `UsageServices.start`."""
    prices = Prices(settings.prices)
    counters = Counters(Totals(), Credits(database), Holds(price=prices.priced))
    ledger = Ledger(database, counters, prices)
    metrics.access.read_ledger(lambda: len(ledger))
    ledger.listeners.append(metrics.access.used)
    if access.limits is not None:
        ledger.used_tokens = access.limits.used_tokens
    quotas = Quotas(
        counters.totals,
        counters.credits,
        counters.holds,
        daily=settings.daily_quota,
        monthly=settings.monthly_quota,
    )
    upkeep = Upkeep(
        database,
        ledger,
        counters,
        quotas,
        is_shared=settings.database_url is not None,
        ttl_days=settings.usage_ttl,
    )
    return UsageServices(
        ledger,
        quotas,
        counters.credits,
        Report(database),
        Gatekeeper(ledger, quotas, create_credit_check(settings, metrics)),
        upkeep,
    )
