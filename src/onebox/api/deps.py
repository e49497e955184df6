"""What route functions ask for."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from onebox.bootstrap import Services
from onebox.services.authenticator import Caller


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


ServicesDep = Annotated[Services, Depends(_services)]
CallerDep = Annotated[Caller, Depends(_caller)]
