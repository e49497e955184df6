"""Which Python makes the environment: this one when it fits, else the newest that can be found."""

from __future__ import annotations

import os
import sys
from typing import Callable, NamedTuple, Sequence

from onebox.setup import remedies
from onebox.setup.errors import SetupError
from onebox.setup.process import Outcome, ask

OLDEST = (3, 11)
NEWEST = (3, 14)

_MINORS = range(NEWEST[1], OLDEST[1] - 1, -1)
# Every row is the start of a command line that ends in `-c PROBE`. uv comes last because it may
# have to download an interpreter.
_UV = ("uv", "run", "--no-project", "--python", f">=3.{OLDEST[1]},<3.{NEWEST[1] + 1}", "python")
_LOOKUPS = {
    "posix": (*((f"python3.{minor}",) for minor in _MINORS), _UV),
    "nt": (*(("py", f"-3.{minor}") for minor in _MINORS), _UV),
}
# The base executable, because an environment made from another environment breaks with it.
_PROBE = (
    "import sys; print('%d.%d' % sys.version_info[:2]); "
    "print(getattr(sys, '_base_executable', None) or sys.executable)"
)
_UV_TIMEOUT_S = 300

Ask = Callable[[Sequence[str], float], Outcome]


class Interpreter(NamedTuple):
    """A Python that can make the environment."""

    path: str
    version: tuple[int, int]

    @property
    def label(self) -> str:
        return "{}.{}".format(*self.version)


def fits(version: Sequence[int]) -> bool:
    """Whether Onebox and all its packages exist for this Python."""
    return OLDEST <= tuple(version[:2]) <= NEWEST


def current() -> Interpreter:
    path = getattr(sys, "_base_executable", None) or sys.executable
    return Interpreter(path, (sys.version_info[0], sys.version_info[1]))


def choose(here: Interpreter, ask: Ask = ask, os_name: str = os.name) -> Interpreter:
    """This interpreter when it fits, else the first in the table that answers and fits."""
    if fits(here.version):
        return here
    for lookup in _LOOKUPS[os_name]:
        found = _answer(lookup, ask)
        if found is not None and fits(found.version):
            return found
    raise SetupError(
        f"Onebox needs Python 3.{OLDEST[1]} to 3.{NEWEST[1]}; this is {here.label} ({here.path}), "
        "and no other was found",
        remedies.install_python(),
    )


def _answer(lookup: Sequence[str], ask: Ask) -> Interpreter | None:
    # A pyenv shim exists for versions it cannot run, so only a Python that answers counts.
    timeout_s = _UV_TIMEOUT_S if lookup[0] == "uv" else 15
    outcome = ask([*lookup, "-c", _PROBE], timeout_s)
    lines = outcome.text.split("\n")
    if not outcome.ok or len(lines) < 2:
        return None
    major, _, minor = lines[0].strip().partition(".")
    if not (major.isdigit() and minor.isdigit()):
        return None
    return Interpreter(lines[1].strip(), (int(major), int(minor)))
