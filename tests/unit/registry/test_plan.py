from __future__ import annotations

import dataclasses

import pytest

from onebox.registry.plan import Plan, Waiting, next_settled_in, plan_scan
from onebox.registry.scanner import Candidate, FileStat

NOW = 1000.0


def candidate(name: str = "a.pt", size: int = 8, mtime_s: float = 0.0, inode: int = 1) -> Candidate:
    stat = FileStat(name, size, int(mtime_s * 1e9), inode)
    return Candidate(f"/m/{name}", "/m", name, ".pt", False, (stat,))


def plan(
    known: list[Candidate], waiting: list[Waiting], found: list[Candidate], now: float = NOW,
    first: bool = False,
) -> Plan:  # fmt: skip
    return plan_scan(
        {item.path: item for item in known},
        {item.candidate.path: item for item in waiting},
        {item.path: item for item in found},
        now=now, settle_s=0.5, first=first,
    )  # fmt: skip


def test_a_new_file_waits_until_it_held_still() -> None:
    first = plan([], [], [candidate()])
    assert first.settled == ()
    assert next_settled_in(first.waiting, now=NOW + 0.1, settle_s=0.5) == pytest.approx(0.4)
    waiting = list(first.waiting.values())
    assert plan([], waiting, [candidate()], now=NOW + 0.4).settled == ()
    assert plan([], waiting, [candidate()], now=NOW + 0.5).settled == (candidate(),)


def test_a_growing_file_starts_over() -> None:
    waiting = [Waiting(candidate(size=8), NOW)]
    second = plan([], waiting, [candidate(size=9)], now=NOW + 0.5)
    assert second.settled == ()
    assert second.waiting["/m/a.pt"].since == NOW + 0.5


def test_only_the_first_scan_believes_file_times() -> None:
    old, fresh = candidate("old.pt", mtime_s=NOW - 60), candidate("new.pt", mtime_s=NOW - 0.1)
    assert plan([], [], [old, fresh], first=True).settled == (old,)
    assert plan([], [], [old, fresh]).settled == ()


def test_a_time_in_the_future_is_not_believed() -> None:
    assert plan([], [], [candidate(mtime_s=NOW + 9999)], first=True).settled == ()


def test_a_clock_set_back_does_not_wait_for_ever() -> None:
    late = [Waiting(candidate(), NOW + 5000)]
    assert plan([], late, [candidate()]).waiting["/m/a.pt"].since == NOW


def test_unchanged_is_nothing_and_deleted_is_gone() -> None:
    result = plan([candidate("a.pt"), candidate("b.pt")], [], [candidate("a.pt")])
    assert result == Plan((), ("/m/b.pt",), {}, {})


def test_a_changed_file_is_not_served_until_it_settled() -> None:
    changed = candidate(size=99)
    result = plan([candidate()], [], [changed])
    assert result.gone == ("/m/a.pt",)
    later = plan([], list(result.waiting.values()), [changed], now=NOW + 1)
    assert later.settled == (changed,)


def test_new_settings_alone_do_not_take_it_away() -> None:
    changed = dataclasses.replace(candidate(), settings=FileStat("a.onebox.toml", 1, 1, 2))
    result = plan([candidate()], [], [changed])
    assert result.gone == ()
    assert set(result.waiting) == {"/m/a.pt"}


def test_a_renamed_file_is_served_at_once() -> None:
    result = plan([candidate("old.pt")], [], [candidate("new.pt")])
    assert result.settled == (candidate("new.pt"),)
    assert result.gone == ("/m/old.pt",)
    assert result.renamed == {"/m/new.pt": "/m/old.pt"}


def test_nothing_waits_for_ever() -> None:
    assert next_settled_in({}, now=NOW, settle_s=0.5) is None
