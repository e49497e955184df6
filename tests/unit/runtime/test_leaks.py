from __future__ import annotations

import pytest

from onebox.runtime.leaks import LeakWatch, Unloaded

LIMIT = 20


@pytest.fixture
def watch():
    return LeakWatch(LIMIT)


def load(watch: LeakWatch, key: str, before: int, after: int, size: int | None = None) -> None:
    watch.on_load(before)
    watch.on_loaded(key, after - before if size is None else size, before, after)


def test_what_comes_back_is_added_up(watch):
    load(watch, "a", 5, 45)
    load(watch, "b", 45, 75)
    assert watch.on_unloaded("a", "A", 75, 35) == Unloaded(40, 0)
    assert watch.on_unloaded("b", "B", 35, 6) == Unloaded(29, 1)
    assert (watch.returned_bytes, watch.suspect) == (69, False)


@pytest.mark.parametrize(("after", "suspect"), [(20, False), (21, True)])
def test_one_unload_that_gave_too_little_makes_it_suspect(watch, after, suspect):
    load(watch, "a", 0, 40)
    watch.on_unloaded("a", "A", 40, after)
    assert watch.suspect is suspect


def test_many_small_shortfalls_add_up(watch):
    held = 0
    for _ in range(3):
        load(watch, "a", held, held + 40)
        assert not watch.suspect
        watch.on_unloaded("a", "A", held + 40, held + 7)
        held += 7
    assert watch.suspect
    watch.judge(held)
    assert (watch.leaked_bytes, watch.suspect) == (21, False)
    assert watch.wants_restart == (
        "21 bytes were not given back after unloading A; the limit is 20"
    )


def test_what_another_took_meanwhile_is_no_leak(watch):
    load(watch, "a", 5, 45)
    assert watch.on_unloaded("a", "A", 45, 45) == Unloaded(0, 40)
    assert watch.suspect
    watch.judge(6)
    assert (watch.leaked_bytes, watch.suspect, watch.wants_restart) == (1, False, None)


def test_a_verdict_starts_the_count_anew(watch):
    load(watch, "a", 0, 40)
    watch.on_unloaded("a", "A", 40, 25)
    watch.on_failed("B", 0, 10)
    assert watch.suspect
    watch.judge(0)
    watch.on_failed("B", 0, LIMIT)
    assert not watch.suspect


@pytest.mark.parametrize(
    ("held", "leaked"), [(80, 0), (85, 0), (105, 20), (106, 21)], ids=["less", "as", "at", "over"]
)
def test_what_is_loaded_is_not_leaked(watch, held, leaked):
    load(watch, "a", 5, 45)
    load(watch, "b", 45, 85)
    load(watch, "c", 85, 125)
    watch.on_unloaded("c", "C", 125, 125)
    watch.judge(held)
    assert watch.leaked_bytes == leaked
    assert (watch.wants_restart is not None) is (leaked > LIMIT)


def test_a_mapped_file_takes_its_memory_after_the_load(watch):
    load(watch, "mapped", 0, 2, size=60)
    load(watch, "a", 2, 42)
    watch.on_unloaded("a", "A", 42, 60)
    watch.judge(60)
    assert (watch.leaked_bytes, watch.wants_restart) == (0, None)


def test_what_a_failed_load_left_behind_is_missing(watch):
    watch.on_load(10)
    watch.on_failed("A", 10, 31)
    assert watch.suspect
    watch.judge(31)
    assert "A" in (watch.wants_restart or "")


def test_the_wish_for_a_restart_stays(watch):
    watch.on_load(0)
    watch.on_failed("A", 0, 50)
    watch.judge(50)
    wish = watch.wants_restart
    watch.judge(0)
    assert (watch.wants_restart, watch.leaked_bytes) == (wish, 0)
