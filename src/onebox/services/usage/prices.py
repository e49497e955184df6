"""`Prices`: what a request costs, in credits."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from onebox.services.usage.usage import Amounts, Usage


class Prices:
    """
    Args:
        prices: credits by unit, or by `model:unit` for one model, which comes first.
    """

    def __init__(self, prices: Mapping[str, float]) -> None:
        self._general = {name: price for name, price in prices.items() if ":" not in name}
        self._own: dict[str, dict[str, float]] = {}
        for name, price in prices.items():
            model, colon, unit = name.rpartition(":")
            if colon:
                self._own.setdefault(model, {})[unit] = price

    def charged(self, usage: Usage) -> Usage:
        """The usage with what it costs."""
        amounts = self.priced(usage.amounts, usage.model)
        if amounts is usage.amounts:
            return usage
        return msgspec.structs.replace(usage, amounts=amounts)

    def priced(self, amounts: Amounts, model: str) -> Amounts:
        """The amounts with what they cost."""
        prices = self._general
        if own := self._own.get(model):
            prices = {**prices, **own}
        return _charged(amounts, prices) if prices else amounts


def _charged(amounts: Amounts, prices: Mapping[str, float]) -> Amounts:
    by_unit = amounts.by_unit()
    credits = sum(by_unit[unit] * price for unit, price in prices.items())
    return msgspec.structs.replace(amounts, credits=credits)
