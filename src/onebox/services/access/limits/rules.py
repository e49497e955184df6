"""What is allowed in a minute, by class of routes and by caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from onebox.core.settings import Settings
from onebox.services.access.caller import UNLIMITED, Caller

RouteClass = Literal["text", "prompt", "images", "audio", "video", "health", "other"]
ROUTE_CLASSES: tuple[RouteClass, ...] = get_args(RouteClass)
# Of who sends no valid key, whatever the route.
FAILED = "failed"
# What a caller with a number of their own is counted under, whatever the route.
ALL = "all"
# Requests that write or read tokens by the thousand. What else does is counted, not refused.
TOKEN_CLASSES = frozenset({"text", "prompt"})

PUBLIC: Mapping[str, int] = {
    "text": 60,
    "prompt": 20,
    "images": 10,
    # Both take a device for seconds to minutes.
    "audio": 20,
    "video": 5,
    "health": 30,
    # Lists, files, and asking how a job gets on.
    "other": 120,
    FAILED: 20,
}


@dataclass(frozen=True, slots=True)
class Allowed:
    """What one request is counted against.

    Attributes:
        window: what is counted together with it.
        requests, tokens: a minute; None: any number.
    """

    window: str
    requests: int | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class LimitRules:
    """Requests a minute by class, and tokens a minute of one caller."""

    requests: Mapping[str, int] = field(default_factory=dict)
    tokens: int | None = None

    def allowed(self, caller: Caller | None, route_class: str) -> Allowed | None:
        """None: any number of both. A caller's own numbers go before the server's."""
        own = UNLIMITED if caller is None else caller.allowance
        tokens = None if caller is None else self.tokens_of(caller)
        if route_class not in TOKEN_CLASSES:
            tokens = None
        if own.requests_per_minute is not None:
            return Allowed(ALL, own.requests_per_minute, tokens)
        requests = self.requests.get(route_class)
        if requests is None and tokens is None:
            return None
        return Allowed(route_class, requests, tokens)

    def tokens_of(self, caller: Caller) -> int | None:
        own = caller.allowance.tokens_per_minute
        return self.tokens if own is None else own


def limit_rules(settings: Settings) -> LimitRules:
    """The setting of a class, else THROTTLE_RPM, else what ONEBOX_LIMITS stands for."""
    preset = PUBLIC if settings.limits == "public" else {}
    requests: dict[str, int] = {}
    for name in (*ROUTE_CLASSES, FAILED):
        for number in (
            getattr(settings, f"limit_{name}"),
            settings.throttle_rpm,
            preset.get(name),
        ):
            if number is not None:
                # None at all would be a server that cannot be used.
                if number > 0:
                    requests[name] = number
                break
    return LimitRules(requests, settings.limit_tokens or None)
