"""What becomes of a job by what its attempt ended in."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from onebox.core.errors import (
    AppError,
    Cancelled,
    DeadlineExceeded,
    InvalidInput,
    ModelBusy,
    ModelUnloaded,
    OutOfMemory,
    QueueFull,
    ShuttingDown,
    WorkerLost,
    WorkerUnready,
)
from onebox.core.results import Artifact
from onebox.services.jobs.attempts import Again
from onebox.services.jobs.job import Job, QueuedJob
from onebox.services.jobs.live import Live
from tests.unit.runtime.clients import run
from tests.unit.services.workshop import Workshop, giving, raising

RESULT = Artifact("image/png", b"picture", None, {"seed": 1})


@pytest.fixture
def shop() -> Workshop:
    return Workshop()


def attempt(shop: Workshop, *actions, times: int = 1, **fields) -> list[Again | None]:
    """What comes of one attempt after the other at a job."""
    shop.store.add("a", **fields)
    shop.does("a", *actions)

    async def scene() -> list[Again | None]:
        return [await shop.attempts.make("a", Live()) for _ in range(times)]

    return run(scene())


def test_its_results_are_kept_and_then_it_is_complete(shop: Workshop):
    assert attempt(shop, giving(RESULT, RESULT)) == [None]
    job = shop.store.jobs["a"]
    assert [(it.name, it.size_bytes) for it in job.artifacts] == [("f1-0", 7), ("f1-1", 7)]
    assert (job.state, shop.ends) == ("completed", [("fake", "completed")])


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (giving(RESULT), {"state": "completed"}),
        (raising(InvalidInput("width: too large")), {"state": "failed", "code": "invalid_value"}),
        (raising(Cancelled("by its client")), {"state": "cancelled", "code": "cancelled"}),
    ],
)
def test_its_end_is_a_line_of_the_log(shop: Workshop, action, told):
    with capture_logs() as logged:
        attempt(shop, action)
    (line,) = logged
    assert (line["event"], line["task"], line["log_level"]) == ("job_ended", "fake", "info")
    assert line["seconds"] >= 0
    assert {name: line[name] for name in ("state", "code") if name in line} == told


def test_one_that_no_longer_waits_is_let_be(shop: Workshop):
    assert attempt(shop, state="cancelled") == [None]
    assert (shop.executor.began, shop.ends) == ([], [])


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("width: too large", param="width"),
        DeadlineExceeded("the request did not finish within 9.0 s"),
    ],
)
def test_what_will_not_change_is_its_end(shop: Workshop, error: AppError):
    assert attempt(shop, raising(error)) == [None]
    job = shop.store.jobs["a"]
    assert (job.state, job.error) == (
        "failed",
        {"code": error.code, "message": error.message, "param": error.param},
    )
    assert shop.ends == [("fake", "failed")]


def test_the_text_of_a_bug_stays_in_the_log(shop: Workshop):
    attempt(shop, raising(ValueError("secret detail")))
    error = shop.store.jobs["a"].error
    assert error["code"] == "internal_error"
    assert "secret" not in error["message"]


@pytest.mark.parametrize(
    "error", [QueueFull, WorkerUnready, ModelBusy, ModelUnloaded, ShuttingDown]
)
def test_what_passes_costs_no_attempt(shop: Workshop, error: type[AppError]):
    times = 10
    again = attempt(shop, *[raising(error("later")) for _ in range(times)], times=times)
    job = shop.store.jobs["a"]
    assert (job.state, job.attempt, job.lost, shop.ends) == ("queued", 0, 0, [])
    assert [each.pause_s for each in again] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_it_comes_back_when_it_was_told_to(shop: Workshop):
    (again,) = attempt(shop, raising(QueueFull("later", retry_after_s=30)), priority="batch")
    assert again == Again(QueuedJob("a", "key:1", "batch", 0), 30)


@pytest.mark.parametrize("error", [WorkerLost, OutOfMemory])
def test_three_lost_attempts_are_its_end(shop: Workshop, error: type[AppError]):
    again = attempt(shop, *[raising(error("it ended"))] * 3, times=3)
    assert [each and each.job.lost for each in again] == [1, 2, None]
    job = shop.store.jobs["a"]
    assert (job.state, job.error["code"]) == ("failed", error.code)


def test_a_request_of_it_that_was_cancelled_is_its_end(shop: Workshop):
    assert attempt(shop, raising(Cancelled("the request was cancelled"))) == [None]
    assert (shop.state("a"), shop.ends) == ("cancelled", [("fake", "cancelled")])


def test_what_an_attempt_brings_that_is_no_longer_the_jobs_is_dropped(shop: Workshop):
    async def ended_meanwhile(job, live):
        await shop.store.cancel(job.id)
        return [RESULT]

    assert attempt(shop, ended_meanwhile) == [None]
    assert (shop.state("a"), shop.store.jobs["a"].artifacts, shop.ends) == ("cancelled", (), [])


def test_the_files_of_one_that_is_ended_meanwhile_are_not_written_again(shop: Workshop, capsys):
    async def end(job: Job, live: Live) -> list[Artifact]:
        await shop.store.cancel(job.id)
        shop.files.broken = [FileNotFoundError("f1-0.part")]
        return [RESULT]

    assert attempt(shop, end) == [None]
    assert (shop.state("a"), shop.ends) == ("cancelled", [])
    assert "job_not_written" not in capsys.readouterr().out


def test_a_full_disk_is_waited_for_with_the_result_in_hand(shop: Workshop):
    shop.files.broken = [OSError("no space left"), OSError("no space left")]
    shop.store.broken = [OperationalError("update", {}, Exception("disk full"))]
    assert attempt(shop, giving(RESULT)) == [None]
    assert (shop.state("a"), shop.executor.began) == ("completed", ["a"])


def test_an_end_in_between_makes_the_next_pause_short_again(shop: Workshop):
    later = raising(QueueFull("later"))
    attempt(shop, later, later, giving(), times=3)
    (again,) = attempt(shop, later)
    assert again.pause_s == 1
