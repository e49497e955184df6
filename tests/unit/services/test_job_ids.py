from __future__ import annotations

import time

import pytest

from onebox.services.jobs.ids import is_id, new_id, sequence_of


@pytest.mark.parametrize("prefix", ["job", "video", "batch", "file"])
def test_an_id_is_its_kind_and_twenty_six_characters(prefix):
    made = new_id(prefix)
    assert made.startswith(f"{prefix}_")
    assert len(made) == len(prefix) + 27
    assert is_id(made, prefix)


def test_ids_differ():
    assert len({new_id("job") for _ in range(1000)}) == 1000


def test_later_ids_sort_after_earlier_ones_of_any_kind(monkeypatch):
    times = [1, 31, 32, 10**18, 10**18 + 1, 2**63]
    made = []
    for now in times:
        monkeypatch.setattr(time, "time_ns", lambda now=now: now)
        made.append(sequence_of(new_id("video" if now % 2 else "job")))
    assert made == sorted(made)


def test_ids_of_one_moment_sort_by_their_places(monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 7)
    made = [new_id("job", place=place) for place in range(100)]
    assert made == sorted(made)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "job_",
        "video_" + "0" * 26,
        "job_" + "0" * 25,
        "job_" + "0" * 27,
        "job_" + "0" * 26 + "\n",
        "job_" + "A" * 26,
        "job_" + "l" * 26,
        "job_../../../../../etc/passwd",
        "job_" + "0" * 25 + "\0",
        "job_" + "٣" * 26,
        "x" * 100_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_no_id_is_seen(text):
    assert not is_id(text, "job")
