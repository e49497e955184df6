"""What a scan means: which checkpoints to look into now, which to drop, which still move. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onebox.registry.scanner import Candidate


@dataclass(frozen=True, slots=True)
class Waiting:
    """A new or changed checkpoint that must hold still; `since`: first seen like this."""

    candidate: Candidate
    since: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Outcome of one scan.

    Attributes:
        settled: new or changed, and complete: look into them.
        gone: paths served until now that are not any more (deleted, or being overwritten).
        waiting: what still moves, for the next scan.
        renamed: path of a settled checkpoint → its path until now.
    """

    settled: tuple[Candidate, ...]
    gone: tuple[str, ...]
    waiting: dict[str, Waiting]
    renamed: dict[str, str]


def plan_scan(
    known: Mapping[str, Candidate],
    waiting: Mapping[str, Waiting],
    found: Mapping[str, Candidate],
    *,
    now: float,
    settle_s: float,
    first: bool = False,
) -> Plan:
    """Compare what is known with what a scan found.

    A checkpoint is complete when it held still for `settle_s`, seen by us: file times alone prove
    little, they can come from another machine's clock. Only the first scan believes them, so that a
    start lists at once.
    """
    vanished = {known[path].signature: path for path in known.keys() - found.keys()}
    settled: list[Candidate] = []
    still_waiting: dict[str, Waiting] = {}
    renamed: dict[str, str] = {}
    for path, candidate in found.items():
        if known.get(path) == candidate:
            continue
        since = _seen_since(waiting.get(path), candidate, now)
        old_path = vanished.get(candidate.signature) if path not in known else None
        if old_path is not None:
            renamed[path] = old_path
        is_old = first and now - candidate.newest_mtime_s >= settle_s
        if is_old or old_path is not None or now - since >= settle_s:
            settled.append(candidate)
        else:
            still_waiting[path] = Waiting(candidate, since)
    return Plan(tuple(settled), _gone(known, found, still_waiting), still_waiting, renamed)


def next_settled_in(waiting: Mapping[str, Waiting], *, now: float, settle_s: float) -> float | None:
    """Seconds until the first waiting checkpoint may have settled; None when none waits."""
    if not waiting:
        return None
    return max(0.0, min(item.since for item in waiting.values()) + settle_s - now)


def _seen_since(before: Waiting | None, candidate: Candidate, now: float) -> float:
    if before is not None and before.candidate == candidate and before.since <= now:
        return before.since
    return now


def _gone(
    known: Mapping[str, Candidate], found: Mapping[str, Candidate], waiting: Mapping[str, Waiting]
) -> tuple[str, ...]:
    """Paths to drop now. While only `onebox.toml` changes, the old state stays."""
    overwritten = (
        path
        for path in waiting
        if path in known and waiting[path].candidate.files != known[path].files
    )
    return (*(known.keys() - found.keys()), *overwritten)
