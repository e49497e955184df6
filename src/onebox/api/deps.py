"""What route functions ask for.

Coroutines, though they wait for nothing: FastAPI would call anything else in a thread.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from onebox.bootstrap import Services
from onebox.services.access.caller import Caller
from onebox.services.usage.creation import UsageServices


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def _usage(request: Request) -> UsageServices:
    """Once all that has ended by now is written and charged."""
    services: Services = request.app.state.services
    await services.usage.ledger.flush()
    return services.usage


ServicesDep = Annotated[Services, Depends(_services)]
CallerDep = Annotated[Caller, Depends(_caller)]
UsageDep = Annotated[UsageServices, Depends(_usage)]
