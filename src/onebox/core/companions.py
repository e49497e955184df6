"""`Companion`: another checkpoint that a request needs beside its own, such as a LoRA."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onebox.core.contracts import Entry


@dataclass(frozen=True, slots=True)
class Companion:
    """Which checkpoint is meant.

    Attributes:
        slot: what the task calls it; unique in a request.
        name: as a client wrote it. None: any installed one that fits.
        families: those it may be of.
        facts: what its own facts must say, where any installed one will do.
        alike: facts that must be those of another companion, by their slot; it comes before, and
            what its own facts do not say may be anything.
        task: of several that fit, its default is taken, or else the first that `prefers` names.
        param: the request field that asked for it.
        needs: what to install, for the error when there is none.
        required: without it the request cannot run; else it runs without.
    """

    slot: str
    name: str | None
    families: frozenset[str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    alike: Mapping[str, str] = field(default_factory=dict)
    task: str | None = None
    prefers: Callable[[Entry], bool] | None = None
    param: str = "model"
    needs: str = ""
    required: bool = True
