from __future__ import annotations

import contextlib
import gc

import pytest

from onebox.core.errors import InsufficientCredits, QuotaExceeded
from onebox.core.plugins import TASKS, load_plugins
from onebox.core.units import DAY_S
from onebox.services.task_kinds import TASKS as KINDS
from tests.unit.services.callers import caller
from tests.unit.services.counting import NOON, Books, in_loop, used
from tests.unit.services.job_kit import new

MIDNIGHT = NOON + DAY_S / 2
# The end of 2026-11-30.
MONTH_END = NOON + 8.5 * DAY_S


def ask(books, who, task="chat", model="smol"):
    return books.quotas.hold(who, task, model)


def test_who_is_not_bounded_has_nothing_held(kit):
    assert ask(Books(kit.database), caller()) is None


def test_a_quota_that_is_used_up_is_told_with_its_numbers_and_its_end(kit):
    books, who = Books(kit.database), caller(daily={"pictures": 2})
    books.record(pictures=2)
    with pytest.raises(QuotaExceeded) as caught:
        ask(books, who, "text-to-image")
    error = caught.value
    assert error.message.startswith("2 of 2 pictures of this day are used; more can be had from")
    assert "2026-11-23 00:00 UTC" in error.message
    assert error.details == {
        **{"unit": "pictures", "period": "day", "limit": 2, "used": 2},
        "resets_at": int(MIDNIGHT),
    }
    assert (error.retry_after_s, error.should_retry) == (DAY_S / 2, False)


@pytest.mark.parametrize(
    ("unit", "bound", "free"),
    [
        ("pictures", ["text-to-image", "upscale", "try-on"], ["chat", "speech", "text-to-video"]),
        ("completion_tokens", ["chat", "completion"], ["text-to-image", "transcription"]),
        ("audio_seconds", ["speech", "transcription"], ["chat", "cutout"]),
        ("video_seconds", ["text-to-video", "image-to-video"], ["embeddings", "inpainting"]),
        ("requests", ["chat", "text-to-image", "speech"], []),
        ("device_seconds", ["rerank", "variations", "text-to-video"], []),
    ],
)
def test_a_quota_binds_what_can_take_of_its_unit_and_what_nobody_knows(kit, unit, bound, free):
    books, who = Books(kit.database), caller(daily={unit: 2})
    books.record(**{unit: 2})
    for task in free:
        assert ask(books, who, task) is not None
    for task in [*bound, "a-plugin-s"]:
        with pytest.raises(QuotaExceeded):
            ask(books, who, task)


def test_every_task_says_which_units_it_takes():
    load_plugins()
    counted = {name for name, task in TASKS.items() if task.is_counted}
    own = {name for name in counted if TASKS[name].__module__.startswith("onebox.")}
    assert own == {name for name in KINDS if TASKS[name].is_counted}


def test_a_quota_is_free_again_at_midnight_and_on_the_first(kit):
    daily, monthly = caller(daily={"requests": 1}), caller(monthly={"requests": 1})
    for who, period_end in ((daily, MIDNIGHT), (monthly, MONTH_END)):
        books = Books(kit.database)
        books.record()
        books.clock.now = period_end - 1
        with pytest.raises(QuotaExceeded):
            ask(books, who)
        books.clock.now = period_end
        assert ask(books, who) is not None


def test_a_month_goes_on_over_midnight(kit):
    books, who = Books(kit.database), caller(monthly={"requests": 2})
    books.record()
    books.clock.now += DAY_S
    books.record()
    with pytest.raises(QuotaExceeded) as caught:
        ask(books, who)
    assert caught.value.details["resets_at"] == int(MONTH_END)


def test_a_server_has_quotas_for_all_who_have_none_of_their_own(kit):
    books = Books(kit.database, daily={"requests": 1}, monthly={"pictures": 5})
    books.record()
    books.record(caller="key:2", pictures=4)
    with pytest.raises(QuotaExceeded):
        ask(books, caller())
    assert ask(books, caller("key:2", daily={"requests": 10})) is not None
    books.record(caller="key:2", pictures=1)
    with pytest.raises(QuotaExceeded, match=r"5 of 5 pictures of this month"):
        ask(books, caller("key:2", daily={"requests": 10}), "text-to-image")


def test_what_others_use_counts_for_nobody_else(kit):
    books = Books(kit.database, daily={"requests": 1})
    books.record(caller="key:2")
    assert ask(books, caller("key:1")) is not None


def test_a_quota_of_nothing_lets_nothing_through(kit):
    with pytest.raises(QuotaExceeded):
        ask(Books(kit.database), caller(daily={"video_seconds": 0}), "text-to-video")


def test_requests_that_run_count_before_they_have_ended(kit):
    books, who = Books(kit.database), caller(daily={"requests": 3})
    running = [ask(books, who) for _ in range(3)]
    with pytest.raises(QuotaExceeded, match=r"what runs or waits now may take the rest") as caught:
        ask(books, who)
    assert caught.value.should_retry is None
    assert caught.value.retry_after_s < 60
    running.pop().release()
    assert ask(books, who) is not None


def test_many_at_once_do_not_take_more_credits_than_there_are(kit):
    books, who = Books(kit.database, prices={"device_seconds": 1.0}), caller()

    async def scene():
        books.record(device_seconds=2)
        await books.ledger.flush()
        await books.credits.set("key:1", 10)
        running, refused = [], 0
        for _ in range(100):
            try:
                running.append(ask(books, who))
            except InsufficientCredits:
                refused += 1
        assert (len(running), refused) == (5, 95)
        for hold in running:
            books.record(device_seconds=2)
            hold.release()
        await books.ledger.flush()
        assert await books.balance("key:1") == 0
        with pytest.raises(InsufficientCredits, match=r"^0 credits are left; add credits"):
            ask(books, who)

    in_loop(scene())


def test_a_model_that_was_never_used_is_taken_to_cost_what_its_task_does(kit):
    books = Books(kit.database, prices={"pictures": 3})
    books.record(task="text-to-image", model="a", pictures=2)
    assert books.holds.usual("text-to-image", "b").credits == 6


def test_the_first_requests_of_all_are_taken_to_need_one_of_each_unit(kit):
    prices = {"requests": 1, "dear:requests": 2}
    for model, quota, at_once in (("smol", {}, 3), ("dear", {}, 2), ("smol", {"pictures": 2}, 2)):
        books, who = Books(kit.database, prices=prices), caller(daily=quota)

        async def scene(books=books, who=who, model=model, at_once=at_once):
            await books.credits.set("key:1", 3)
            running = []
            for _ in range(200):
                with contextlib.suppress(InsufficientCredits, QuotaExceeded):
                    running.append(ask(books, who, "text-to-image", model))
            assert len(running) == at_once

        in_loop(scene())


def test_what_is_usual_is_learnt_from_those_that_ended_well(kit):
    books = Books(kit.database)
    books.record(device_seconds=4)
    books.record(status="cancelled", device_seconds=400)
    assert books.holds.usual("chat", "smol").device_seconds == 4
    for _ in range(200):
        books.record(device_seconds=1)
    assert books.holds.usual("chat", "smol").device_seconds == pytest.approx(1, abs=0.01)


def test_a_request_that_never_runs_holds_nothing_for_long(kit):
    books, who = Books(kit.database), caller(daily={"requests": 1})

    async def scene():
        hold = ask(books, who)
        assert hold is not None
        del hold
        gc.collect()
        with pytest.raises(QuotaExceeded):
            ask(books, who)
        books.ticks.now += 1
        await books.look()
        assert ask(books, who) is not None

    in_loop(scene())


def test_jobs_that_wait_hold_what_they_will_take(kit):
    """Whoever sends a thousand jobs at once could overdraw as well."""
    books = Books(kit.database, prices={"pictures": 1})
    store = kit.store()

    async def scene():
        books.record(caller="key:9", task="text-to-image", model="shapes", pictures=1)
        await books.credits.set("key-1", 3)
        jobs = await store.insert([new() for _ in range(3)])
        books.ticks.now += 1
        await books.look()
        with pytest.raises(InsufficientCredits):
            ask(books, caller("key-1"))
        await store.cancel(jobs[0].id)
        await books.look()
        assert ask(books, caller("key-1")) is not None

    in_loop(scene())


def test_a_new_server_knows_what_was_used_before(kit):
    async def scene():
        before = Books(kit.database, prices={"requests": 1})
        await before.credits.set("key:1", 5)
        before.clock.now -= DAY_S
        before.record(device_seconds=8)
        before.clock.now += DAY_S
        before.record(device_seconds=8)
        await before.ledger.close()
        books = Books(kit.database)
        await books.upkeep.start()
        assert books.totals.of("key:1", "day").requests == 1
        assert books.totals.of("key:1", "month").requests == 2
        assert books.credits.left("key:1") == 3
        assert books.holds.usual("chat", "smol").device_seconds == 8
        await books.upkeep.close()

    in_loop(scene())


def test_servers_on_one_database_see_what_the_others_count(kit):
    async def scene():
        one, other = (Books(kit.database, daily={"requests": 3}) for _ in range(2))
        one.record()
        await one.ledger.flush()
        # Not written yet: each server counts its own at once.
        other.record()
        await other.look()
        assert other.totals.of("key:1", "day").requests == 2
        await other.ledger.flush()
        assert other.totals.of("key:1", "day").requests == 2
        await one.look()
        one.record()
        with pytest.raises(QuotaExceeded):
            ask(one, caller())

    in_loop(scene())


def test_credits_that_another_process_gives_are_seen(kit):
    async def scene():
        books, terminal = Books(kit.database), Books(kit.database)
        await books.credits.set("key:1", 0)
        await terminal.credits.add("key:1", 5)
        with pytest.raises(InsufficientCredits):
            ask(books, caller())
        await books.look()
        assert ask(books, caller()) is not None

    in_loop(scene())


def test_the_ends_of_months_are_those_of_the_calendar(kit):
    totals = Books(kit.database).totals
    assert (totals.now.day, totals.now.month_start) == ("2026-11-22", "2026-11-01")
    assert totals.now.end_of("month") == MONTH_END


def test_what_ended_before_midnight_is_not_of_the_new_day(kit):
    books = Books(kit.database)
    late = used(at=MIDNIGHT - 0.1, pictures=1)
    books.clock.now = MIDNIGHT + 0.1
    books.ledger.record(late)
    assert books.totals.of("key:1", "day").pictures == 0
    assert books.totals.of("key:1", "month").pictures == 1
