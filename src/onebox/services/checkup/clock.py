"""Whether the clock is right, as far as this machine can tell: keys and links expire by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from onebox.core.os_support import is_clock_unsynchronised
from onebox.core.settings import Settings
from onebox.services.checkup.findings import Findings

SKEW_S = 60.0
EARLIEST = 1_735_689_600  # 2025-01-01, before any release
REMEDY = "set the clock, and let NTP keep it (timedatectl set-ntp true)"


def check_clock(
    settings: Settings,
    findings: Findings,
    *,
    clock: Callable[[], float] = time.time,
    unsynchronised: Callable[[], bool | None] = is_clock_unsynchronised,
) -> None:
    now = clock()
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    last = max((path.stat().st_mtime for path in _own_files(settings.data_dir)), default=0.0)
    if now < EARLIEST:
        findings.problems.append(f"the clock says {day}, which cannot be: {REMEDY}")
    elif last > now + SKEW_S:
        findings.problems.append(
            f"the clock says {day}, but {settings.data_dir} was written {last - now:.0f} s later: "
            f"{REMEDY}"
        )
    elif unsynchronised():
        findings.warnings.append(f"nothing keeps the clock right: {REMEDY}")


def check_skew(host: str, skew_s: float, findings: Findings) -> None:
    """`skew_s`: by how much the clock of another server is ahead of ours."""
    if abs(skew_s) > SKEW_S:
        findings.problems.append(
            f"the clock differs from that of {host} by {abs(skew_s):.0f} s: {REMEDY}"
        )


def _own_files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.is_file()] if folder.is_dir() else []
