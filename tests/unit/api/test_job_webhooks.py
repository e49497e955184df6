"""Webhooks as the routes of jobs know them: refused at submission, and told of later."""

from __future__ import annotations

import pytest

from onebox.services.webhooks import outbox
from tests.unit.api.asking import ADMIN
from tests.unit.api.working import JOBS, Working, job, send, told

DRAW = {"task": "text-to-image", "input": {"prompt": "a red circle"}}
URL = "https://hooks.example/a"


def submit(services, **webhook):
    working = Working()
    return send(services, working, "POST", JOBS, {**DRAW, **webhook}), working


def test_a_job_keeps_whom_to_tell_of_what(services):
    answer, working = submit(services, webhook_url=URL, webhook_events=["job.started"])
    assert answer.status == 202
    assert working.submission.webhook_url == URL
    assert working.submission.webhook_events == ("job.started",)


@pytest.mark.parametrize(
    ("webhook", "param"),
    [
        ({"webhook_url": "http://hooks.example/"}, "webhook_url"),
        ({"webhook_url": "https://127.0.0.1/"}, "webhook_url"),
        ({"webhook_url": "https://169.254.169.254/latest"}, "webhook_url"),
        ({"webhook_url": "https://user:word@hooks.example/"}, "webhook_url"),
        ({"webhook_url": "file:///etc/passwd"}, "webhook_url"),
        ({"webhook_url": ""}, "webhook_url"),
        ({"webhook_url": URL, "webhook_events": ["job.done"]}, "webhook_events"),
        ({"webhook_url": URL, "webhook_events": ["video.completed"]}, "webhook_events"),
        ({"webhook_events": ["job.failed"]}, "webhook_url"),
    ],
)
def test_what_could_not_be_told_is_refused_before_there_is_a_job(services, webhook, param):
    answer, working = submit(services, **webhook)
    assert (answer.status, answer.error["param"]) == (422, param)
    assert working.jobs == {}


def test_what_became_of_the_events_is_told_to_the_owner_and_to_admins(services):
    made, theirs = job(webhook_url=URL), job(caller="key:another", webhook_url=URL)
    working = Working(made, theirs)
    for subject in (made, theirs):
        services.database.write_now(
            lambda c, subject=subject: outbox.add(
                c, url=URL, event_type="job.failed", data={}, subject_id=subject.id, at=5.0
            )
        )
    assert told(send(services, working, "GET", f"{JOBS}/{made.id}"))["links"]["webhooks"]
    (delivery,) = told(send(services, working, "GET", f"{JOBS}/{made.id}/webhooks"))["data"]
    assert delivery.pop("id").startswith("evt_")
    assert delivery == {
        "object": "webhook.delivery",
        "type": "job.failed",
        "url": URL,
        "status": "pending",
        "attempts": 0,
        "last_status": None,
        "last_error": None,
        "created_at": 5.0,
        "next_attempt_at": 5.0,
    }
    path = f"{JOBS}/{theirs.id}/webhooks"
    assert send(services, working, "GET", path).status == 404
    assert len(told(send(services, working, "GET", path, headers=ADMIN))["data"]) == 1


def test_a_job_without_a_webhook_has_no_link_to_any(services):
    made = job()
    answer = told(send(services, Working(made), "GET", f"{JOBS}/{made.id}"))
    assert "webhooks" not in answer["links"]
