"""The settings of quotas, prices and credits: a part of `Settings`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode

from onebox.core.settings_forms import prefixed
from onebox.core.usage_units import COUNTED, amount_of, pairs_of, parse_amounts


def _prices(value: Any) -> Any:
    """`unit=price` and `model:unit=price`."""
    pairs = pairs_of(value) if isinstance(value, str) else dict(value)
    for name in pairs:
        unit = name.rpartition(":")[2]
        if unit not in COUNTED:
            raise ValueError(f"unknown unit {unit[:100]!r}; there are {', '.join(COUNTED)}")
    return {name: amount_of(name, price) for name, price in pairs.items()}


AmountMap = Annotated[dict[str, float], NoDecode, BeforeValidator(parse_amounts)]
PriceMap = Annotated[dict[str, float], NoDecode, BeforeValidator(_prices)]


class UsageSettings(BaseSettings):
    """Quotas, prices and credits."""

    daily_quota: AmountMap = Field(
        {},
        validation_alias=prefixed("DAILY_QUOTA"),
        description="The most of each unit that a key may take in a day of UTC, unless the key "
        "says otherwise: `pictures=100,device_seconds=3600`.",
    )
    monthly_quota: AmountMap = Field(
        {},
        validation_alias=prefixed("MONTHLY_QUOTA"),
        description="The same for a month.",
    )
    prices: PriceMap = Field(
        {},
        validation_alias=prefixed("PRICES"),
        description="Credits that a unit costs, for all models or for one: "
        "`device_seconds=1,sd-turbo:pictures=2`.",
    )
    usage_ttl: float = Field(
        90.0,
        ge=0,
        validation_alias=prefixed("USAGE_TTL"),
        description="Days that the usage of a single request is kept; 0 keeps it. Sums by day "
        "stay.",
    )
