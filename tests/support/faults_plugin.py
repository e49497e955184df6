"""Models and a task that break the worker they run in, for tests of what the server makes of it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from onebox.core.contracts import Bundle, Device, Entry, RunContext, Task
from onebox.core.plugins import FAMILIES, TASKS
from onebox.core.results import Output
from tests.support.dummy_plugin import DummyFamily, dummy_checkpoint

PLUGINS = {"ONEBOX_PLUGINS": "tests.support.dummy_plugin,tests.support.faults_plugin"}


def deadly_checkpoint(folder: Path, **config: Any) -> Path:
    """Write a checkpoint whose load ends the worker, as `death` says: one of DEATHS."""
    return dummy_checkpoint(folder, model_type=DeadlyFamily.model_type, **config)


def _exit() -> None:
    os._exit(3)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _segfault() -> None:
    ctypes.string_at(0)


def _leave_python() -> None:
    sys.exit("a library that thinks it is a program")


def _interrupt() -> None:
    raise KeyboardInterrupt


def _overflow() -> None:
    _overflow()


def _hold_gil() -> None:
    """A native call that lets no other thread of this process run Python."""
    ctypes.PyDLL(None).sleep(3600)


def _ignore_all() -> None:
    """Never ends, and never asks whether it should."""
    while True:
        time.sleep(0.05)


DEATHS: Mapping[str, Callable[[], None]] = {
    "exit": _exit,
    "sigkill": _kill,
    "sigsegv": _segfault,
}
# What a task raises that is no Exception, or that no library should.
RAISES: Mapping[str, Callable[[], None]] = {
    "system exit": _leave_python,
    "keyboard interrupt": _interrupt,
    "recursion": _overflow,
}
HANGS: Mapping[str, Callable[[], None]] = {"hold the GIL": _hold_gil, "ignore all": _ignore_all}
FAULTS = {**DEATHS, **RAISES, **HANGS}


class DeadlyFamily(DummyFamily):
    name = "deadly"
    model_type = "onebox-deadly"
    tasks = frozenset({"echo"})

    def load(self, entry: Entry, device: Device) -> Bundle:
        DEATHS[entry.facts["death"]]()
        return super().load(entry, device)


class FaultInput(BaseModel):
    """`when`: a path; nothing happens before there is something."""

    kind: str
    when: str | None = None


class Fault(Task[FaultInput]):
    """Takes a step, waits for its cue, then does what no task should."""

    name = "fault"
    summary = "Break the worker"
    Input = FaultInput
    families = frozenset({"dummy"})

    def run(self, bundle: Any, request: FaultInput, context: RunContext) -> list[Output]:
        context.step(1, 2)
        while request.when is not None and not Path(request.when).exists():
            context.check()
            time.sleep(0.01)
        FAULTS[request.kind]()
        return []


FAMILIES.register(DeadlyFamily.name, DeadlyFamily())
TASKS.register(Fault.name, Fault())
