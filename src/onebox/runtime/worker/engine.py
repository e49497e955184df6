"""The engine that a checkpoint's family asks for."""

from __future__ import annotations

from onebox.core.contracts import Entry
from onebox.core.errors import InferenceFailed
from onebox.core.plugins import FAMILIES
from onebox.engines.decode import DecodeEngine
from onebox.engines.exclusive import ExclusiveEngine
from onebox.engines.gate import Gate
from onebox.engines.microbatch import MicrobatchEngine
from onebox.engines.piecewise import PiecewiseEngine
from onebox.engines.work import Engine, Memory
from onebox.runtime.wire import Start
from onebox.runtime.worker.runner import TaskRunner


def create_engine(
    entry: Entry, memory: Memory, run: TaskRunner, gate: Gate, start: Start
) -> Engine:
    """Raises InferenceFailed for an engine that there is not."""
    match FAMILIES[entry.family or ""].engine:
        case "exclusive":
            return ExclusiveEngine(entry.name, memory, run, gate)
        case "microbatch":
            window_s = start.batch_window_s
            return MicrobatchEngine(entry.name, memory, run, gate, max_window_s=window_s)
        case "piecewise":
            return PiecewiseEngine(entry.name, memory, run, gate)
        case "decode":
            return DecodeEngine(
                entry.name,
                memory,
                run,
                gate,
                most_sequences=start.max_sequences,
                keep_bytes=start.prefix_cache_bytes,
                patience_s=start.lease_timeout_s,
            )
        case unknown:
            raise InferenceFailed(f"the family of {entry.name} names no engine: {unknown}")
