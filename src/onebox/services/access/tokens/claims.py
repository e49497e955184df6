"""What the claims of a checked JSON Web Token say about its caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from onebox.core.errors import Unauthorized
from onebox.core.usage_units import parse_amounts
from onebox.services.access.caller import SCOPES, UNLIMITED, Allowance

# Claims by what they limit; ONEBOX_JWT_LIMIT_CLAIMS gives others.
LIMIT_CLAIMS = {
    "models": "onebox_models",
    "requests_per_minute": "onebox_requests_per_minute",
    "tokens_per_minute": "onebox_tokens_per_minute",
    "max_concurrent": "onebox_max_concurrent",
    "daily": "onebox_daily",
    "monthly": "onebox_monthly",
}
MAX_MODELS = 1_000
MAX_COUNT = 10**12


def scopes_of(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """Known scopes of a claim: a space-separated string or a list. Anything else grants nothing."""
    claim = _find(claims, name, "infer")
    names = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return SCOPES & {name for name in names if isinstance(name, str)}


def allowance_of(claims: Mapping[str, Any], names: Mapping[str, str]) -> Allowance:
    """What the claims allow. Raises Unauthorized for one that cannot be read: it is no limit less.

    Args:
        names: a claim for each field of an allowance.
    """
    found = {}
    for field, name in names.items():
        claim = _find(claims, name, None)
        if claim is None:
            continue
        try:
            found[field] = _PARSERS[field](claim)
        except (TypeError, ValueError):
            raise Unauthorized(f"the claim {name} of the token cannot be read") from None
    return Allowance(**found) if found else UNLIMITED


def _find(claims: Mapping[str, Any], name: str, missing: Any) -> Any:
    """A claim of that name, or inside of others where the name is a path with dots."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return missing
        value = value[part]
    return value


def _models(claim: Any) -> tuple[str, ...]:
    names = claim.split() if isinstance(claim, str) else claim
    if not isinstance(names, list) or len(names) > MAX_MODELS:
        raise ValueError
    if not all(isinstance(name, str) and name.isprintable() for name in names):
        raise TypeError
    return tuple(names)


def _count(claim: Any) -> int:
    if isinstance(claim, str) and claim.isascii() and claim.isdigit():
        claim = int(claim[:20])
    if not isinstance(claim, int) or isinstance(claim, bool) or not 0 < claim <= MAX_COUNT:
        raise ValueError
    return claim


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "models": _models,
    "requests_per_minute": _count,
    "tokens_per_minute": _count,
    "max_concurrent": _count,
    "daily": parse_amounts,
    "monthly": parse_amounts,
}
