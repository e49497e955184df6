"""Which events of a job are written down, and what they say."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from sqlalchemy import text

from onebox.services.database import Database, sqlite_url
from onebox.services.jobs.job import Job
from onebox.services.webhooks import outbox

URL = "https://hooks.example/a?token=secret"
JOB = Job(
    id="job_00000000000000000000000001",
    caller="key:1",
    kind="task",
    surface="job",
    group=None,
    position=0,
    task="text-to-image",
    model="shapes",
    model_sha256=None,
    priority="job",
    state="queued",
    seq=1,
    attempt=0,
    lost=0,
    fence=None,
    work=b"the prompt",
    blobs=(),
    public={"prompt": "a secret"},
    created_at=100.5,
    started_at=None,
    ended_at=None,
    expires_at=None,
    error=None,
    artifacts=(),
    webhook_url=URL,
    webhook_events=(),
    timeout_s=None,
    size_bytes=1,
)
ALL = outbox.JOB_EVENTS


@pytest.fixture
def database(tmp_path):
    opened = Database(sqlite_url(tmp_path / "onebox.db"))
    yield opened
    opened.close()


def told(database, *changes, job=JOB):
    """The events of a job that went through these states, as they are sent."""

    def go(connection):
        for change in changes:
            outbox.add_job_event(connection, dataclasses.replace(job, **change))
        return outbox.of_subject(connection, job.id)

    return database.write_now(go)


def types(deliveries):
    return [delivery.event_type for delivery in deliveries]


STARTED = {"state": "running", "seq": 2, "started_at": 110.0}
GIVEN_BACK = {"state": "queued", "seq": 3, "started_at": 110.0}
DONE = {"state": "completed", "seq": 4, "started_at": 110.0, "ended_at": 120.9}
FAILED = {**DONE, "state": "failed", "error": {"code": "x", "message": "m", "param": None}}


def test_the_end_of_a_job_is_told_unless_other_events_are_asked_for(database):
    assert types(told(database, {}, STARTED, GIVEN_BACK, STARTED, DONE)) == ["job.completed"]


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
def test_every_end_is_told(database, state):
    assert types(told(database, {**DONE, "state": state})) == [f"job.{state}"]


def test_all_events_in_their_order_and_a_second_start_is_no_news(database):
    job = dataclasses.replace(JOB, webhook_events=ALL)
    found = told(database, {}, STARTED, GIVEN_BACK, STARTED, DONE, job=job)
    assert types(found) == ["job.queued", "job.started", "job.completed"]
    assert [delivery.created_at for delivery in found] == [100.5, 110.0, 120.9]


def test_only_the_events_that_were_asked_for(database):
    job = dataclasses.replace(JOB, webhook_events=("job.failed",))
    assert types(told(database, {}, STARTED, DONE, job=job)) == []
    assert types(told(database, FAILED, job=job)) == ["job.failed"]


def test_nothing_is_told_when_nobody_asked(database):
    job = dataclasses.replace(JOB, webhook_url=None, webhook_events=ALL)
    assert told(database, {}, DONE, job=job) == []


def test_an_event_says_what_it_is_about_and_nothing_of_what_was_asked(database):
    (delivery,) = told(database, FAILED)
    event = msgspec.json.decode(delivery.body)
    assert event == {
        "id": delivery.id,
        "object": "event",
        "type": "job.failed",
        "created_at": 120,
        "data": {
            "id": JOB.id,
            "object": "job",
            "task": "text-to-image",
            "model": "shapes",
            "status": "failed",
            "error": FAILED["error"],
        },
    }
    assert (delivery.url, delivery.host, delivery.state) == (URL, "hooks.example", "pending")


def test_videos_have_the_events_that_openais_clients_know(database):
    job = dataclasses.replace(JOB, surface="video")
    found = told(database, {}, STARTED, DONE, FAILED, {**DONE, "state": "cancelled"}, job=job)
    assert types(found) == ["video.completed", "video.failed"]
    assert msgspec.json.decode(found[0].body)["data"] == {"id": JOB.id}


def test_an_event_stands_and_falls_with_its_transaction(database):
    def fail(connection):
        outbox.add_job_event(connection, dataclasses.replace(JOB, **DONE))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        database.write_now(fail)
    count = text("SELECT count(*) FROM webhook_deliveries")
    assert database.write_now(lambda c: c.execute(count).scalar()) == 0
