"""What came of a job, what it looks like so far, and its life as events."""

from __future__ import annotations

import json

import pytest

from onebox.services.jobs.events import Update
from tests.unit.api.working import (
    JOBS,
    Working,
    artifact,
    at_step,
    change,
    completed,
    job,
    send,
    told,
)

VIDEO = bytes(range(256)) * 4


@pytest.fixture
def done(tmp_path):
    """A job with a video and a picture, and the server that has it."""
    (tmp_path / "f-0").write_bytes(VIDEO)
    (tmp_path / "f-1").write_bytes(b"picture")
    known = completed(
        artifact("f-0", "video/mp4", len(VIDEO)), artifact("f-1", "image/png", 7), surface="video"
    )
    return known, Working(known, folder=tmp_path)


def fetch(services, done, path, **headers):
    known, working = done
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return send(services, working, "GET", f"{JOBS}/{known.id}/{path}", headers=sent)


def test_a_result_is_a_file_of_its_type(services, done):
    answer = fetch(services, done, "result")
    assert (answer.status, answer.body) == (200, VIDEO)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == "1024"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    name = f'attachment; filename="{done[0].id}.mp4"'
    assert answer.headers["content-disposition"] == name


@pytest.mark.parametrize("path", ["result/1", "result?index=1"])
def test_one_of_several_results(services, done, path):
    answer = fetch(services, done, path)
    assert (answer.body, answer.headers["content-type"]) == (b"picture", "image/png")
    assert f"{done[0].id}-1.png" in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    ("asked", "part", "told_range"),
    [
        ("bytes=0-9", VIDEO[:10], "bytes 0-9/1024"),
        ("bytes=1000-", VIDEO[1000:], "bytes 1000-1023/1024"),
        ("bytes=-24", VIDEO[-24:], "bytes 1000-1023/1024"),
        ("bytes=1000-99999", VIDEO[1000:], "bytes 1000-1023/1024"),
    ],
)
def test_a_part_of_a_result(services, done, asked, part, told_range):
    answer = fetch(services, done, "result", range=asked)
    assert (answer.status, answer.body) == (206, part)
    assert answer.headers["content-range"] == told_range
    assert answer.headers["content-length"] == str(len(part))


@pytest.mark.parametrize(
    "asked",
    [
        *("bytes=9-0", "bytes=-", "bytes", "items=0-9", "bytes=a-b", "bytes=0-1,5-9"),
        "bytes=" + ",".join("0-" for _ in range(2000)),
    ],
)
def test_a_part_that_cannot_be_told_is_the_whole(services, done, asked):
    answer = fetch(services, done, "result", range=asked)
    assert (answer.status, answer.body) == (200, VIDEO)


def test_a_part_behind_the_end_is_416(services, done):
    answer = fetch(services, done, "result", range="bytes=1024-")
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */1024")
    assert answer.error["code"] == "range_not_satisfiable"


def test_a_part_is_only_one_of_the_same_file(services, done):
    etag = fetch(services, done, "result").headers["etag"]
    same = fetch(services, done, "result", range="bytes=0-9", if_range=etag)
    other = fetch(services, done, "result", range="bytes=0-9", if_range='"other"')
    assert (same.status, other.status) == (206, 200)
    again = fetch(services, done, "result", if_none_match=etag)
    assert (again.status, again.body) == (304, b"")


def test_a_result_that_is_not_there(services, done):
    for path in ("result/2", "result?index=2"):
        answer = fetch(services, done, path)
        assert (answer.status, answer.error["code"]) == (404, "file_not_found")
        assert answer.error["details"] == {"count": 2}
    for path in ("result/-1", "result/x", "result?index=10000"):
        assert fetch(services, done, path).status == 422


def test_a_result_whose_file_is_gone(services, tmp_path):
    known = completed(artifact("gone"))
    answer = fetch(services, (known, Working(known, folder=tmp_path)), "result")
    assert (answer.status, answer.error["code"]) == (404, "file_not_found")


@pytest.mark.parametrize("state", ["queued", "running", "failed", "cancelled"])
def test_a_job_without_a_result_is_409(services, state):
    error = {"code": "worker_lost", "message": "lost 3 times", "param": None}
    known = job(state=state, error=error if state == "failed" else None)
    answer = fetch(services, (known, Working(known)), "result")
    assert (answer.status, answer.error["code"]) == (409, "result_not_ready")
    assert answer.error["details"] == {"status": state}
    assert answer.headers["x-should-retry"] == "false"
    assert ("lost 3 times" in answer.error["message"]) == (state == "failed")


def test_a_preview_is_the_newest_picture_of_the_making(services):
    known = job(state="running")
    working = Working(known, lives={known.id: at_step(3, 4, preview=b"dim")})
    answer = fetch(services, (known, working), "preview")
    assert (answer.body, answer.headers["content-type"]) == (b"dim", "image/jpeg")
    assert answer.headers["cache-control"] == "no-store"


def test_no_preview(services):
    known = job(state="running")
    for lives in ({}, {known.id: at_step(3, 4)}):
        answer = fetch(services, (known, Working(known, lives=lives)), "preview")
        assert (answer.status, answer.error["code"]) == (409, "result_not_ready")


def events_of(answer) -> list[dict[str, str]]:
    """The fields of each event; comments are left out."""
    parts = answer.body.decode().split("\n\n")
    return [
        dict(line.split(": ", 1) for line in part.split("\n"))
        for part in parts
        if part and not part.startswith(":")
    ]


def test_events_are_changes_and_progress_and_the_end(services):
    known = completed(artifact("a"))
    updates = [
        change(1, "queued"),
        change(2, "started"),
        Update("2-1", "progress", live=at_step(30, 40)),
        change(3, "completed"),
    ]
    answer = fetch(services, (known, Working(known, updates=updates)), "events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = events_of(answer)
    assert [item["event"] for item in found] == ["queued", "started", "progress", "completed"]
    assert [item["id"] for item in found] == ["1-0", "2-0", "2-1", "3-0"]
    queued, started, progress, end = (json.loads(item["data"]) for item in found)
    assert (queued["status"], started["status"]) == ("queued", "running")
    assert started["attempt"] == 1
    assert (progress["progress"], progress["step"], progress["eta_s"]) == (75, 30, 20.0)
    known_now = told(send(services, Working(known), "GET", f"{JOBS}/{known.id}"))
    assert end == known_now


def test_events_go_on_after_the_last_one_that_was_seen(services):
    known = job()
    working = Working(known)
    fetch(services, (known, working), "events", last_event_id="2-1")
    assert working.after == "2-1"
    fetch(services, (known, working), "events")
    assert working.after is None
