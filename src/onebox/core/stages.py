"""`Stage`: a request to another task that a request needs before it, or for what came of it.

A stage runs as part of its request: with its caller, its deadline and its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import BaseModel

if TYPE_CHECKING:
    from onebox.core.contracts import Entry


@dataclass(frozen=True, slots=True)
class Stage:
    """What to ask, of which task.

    Attributes:
        input: the task's Input.
        model: None: the task's default; where `fits` or `prefers` is given and it has none, any
            installed one that does.
        fits: which checkpoints can do it, beside knowing the task.
        prefers: which of those come before others.
        companion: slot of the request's companion that does it; then nothing is looked for.
        params: what a field of the task is called in the request, for errors, where it is called
            otherwise.
        needs: what to send or to install, for the error when there is none.
    """

    task: str
    input: BaseModel
    model: str | None = None
    fits: Callable[[Entry], bool] | None = None
    prefers: Callable[[Entry], bool] | None = None
    companion: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    needs: str = ""
