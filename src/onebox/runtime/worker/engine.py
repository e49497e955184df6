"""The engine that a checkpoint's family asks for."""

from __future__ import annotations

from onebox.core.contracts import Entry
from onebox.core.errors import InferenceFailed
from onebox.core.plugins import FAMILIES
from onebox.engines.exclusive import ExclusiveEngine
from onebox.engines.gate import Gate
from onebox.engines.microbatch import MicrobatchEngine
from onebox.engines.work import Engine, Memory, Runner


def create_engine(
    entry: Entry, memory: Memory, run: Runner, gate: Gate, max_window_s: float
) -> Engine:
    """Raises InferenceFailed for an engine that there is not."""
    match FAMILIES[entry.family or ""].engine:
        case "exclusive":
            return ExclusiveEngine(entry.name, memory, run, gate)
        case "microbatch":
            return MicrobatchEngine(entry.name, memory, run, gate, max_window_s=max_window_s)
        case unknown:
            raise InferenceFailed(f"the family of {entry.name} names no engine: {unknown}")
