"""A server whose limits and whose clock a test sets, and whose tasks answer at once."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

from fastapi import FastAPI

from onebox.api.app import create_app
from onebox.bootstrap import Services
from onebox.services.access.caller import Caller
from tests.support.clock import Clock
from tests.unit.api.asking import USER, Answer, ask
from tests.unit.api.texts import Relay, Texts
from tests.unit.services.limited import BEGIN_S, Limited

PREFIX = "x-ratelimit-"


class LimitedServer:
    """An app is made once for many tests, for that takes a while: `limit` begins one."""

    def __init__(self, services: Services, **settings: Any) -> None:
        self.clock = Clock(BEGIN_S)
        self.access = copy.copy(services.access)
        self.relay = Relay()
        own = {
            "settings": services.settings.model_copy(update=settings),
            "access": self.access,
            "inference": self.relay,
        }
        self.app: FastAPI = create_app(dataclasses.replace(services, **own))
        self.limit()

    def limit(self, **settings: Any) -> Limited:
        """The limits of these settings, with nothing counted yet."""
        limited = Limited(self.clock, **settings)
        self.access.limits = limited.limits
        self.relay.texts = Texts()
        return limited

    def get(self, path: str, headers: dict[str, str] | None = USER, **how: Any) -> Answer:
        return ask(self.app, "GET", path, headers, **how)

    def post(
        self, path: str, body: dict[str, Any], headers: dict[str, str] | None = USER, **how: Any
    ) -> Answer:
        return ask(self.app, "POST", path, headers, json.dumps(body).encode(), **how)

    def sign(self, subject: str) -> dict[str, str]:
        """Headers of another caller."""
        token = self.access.authenticator.sign(subject, ["infer"], 60)
        return {"authorization": f"Bearer {token}"}


class KnowsOne:
    """In place of the authenticator: everybody is the caller of the moment."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller

    def authenticate(self, authorization: str | None) -> Caller:
        return self.caller


def told(answer: Answer) -> dict[str, str]:
    """What an answer says about limits, without what all of it begins with."""
    return {
        name.removeprefix(PREFIX): value
        for name, value in answer.headers.items()
        if name.startswith(PREFIX)
    }
