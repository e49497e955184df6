"""Runs of several passes: their steps are told as those of one run."""

from __future__ import annotations

from typing import Any

from onebox.core.contracts import RunContext


class Pass:
    """A RunContext for one pass.

    Args:
        context: of the whole run.
        before: steps that were done in earlier passes.
        after: steps that later passes will take.
    """

    def __init__(self, context: RunContext, before: int = 0, after: int = 0) -> None:
        self.steps = 0
        """Of this pass, as far as it is known."""
        self._context = context
        self._before = before
        self._after = after

    def step(self, step: int, steps: int) -> None:
        self.steps = steps
        self._context.step(self._before + step, self._before + steps + self._after)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)
