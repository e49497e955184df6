"""Our own errors and bad settings as lines on the terminal, without a traceback."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click
from pydantic import ValidationError

from onebox.core.errors import AppError

P = ParamSpec("P")
R = TypeVar("R")


def explains_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command, so that what went wrong ends it with status 1 and a line on each problem."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except AppError as error:
            raise click.ClickException(error.message) from error
        except ValidationError as error:
            from onebox.core.settings_problems import problems_of

            lines = "".join(f"\n  {line}" for line in problems_of(error))
            raise click.ClickException(f"bad settings:{lines}") from error

    return wrapped
