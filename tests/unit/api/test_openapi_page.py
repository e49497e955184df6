"""What the API's page tells of routes: enough to call them without reading anything else."""

from __future__ import annotations

import pytest

LONG_WORK = ("/v1/jobs", "/v1/videos", "/v1/files", "/v1/batches")
FILES = {
    "/v1/jobs/{job_id}/result",
    "/v1/jobs/{job_id}/result/{index}",
    "/v1/videos/{video_id}/content",
    "/v1/files/{file_id}/content",
}


@pytest.fixture(scope="module")
def paths(app):
    return app.openapi()["paths"]


def operations(paths):
    for path, each in paths.items():
        for method, operation in each.items():
            yield f"{method.upper()} {path}", operation


def names(operation):
    return {each["name"] for each in operation.get("parameters", ())}


def test_every_route_says_what_it_is_for(paths):
    assert [name for name, operation in operations(paths) if not operation["summary"]] == []


def test_long_work_says_what_is_answered(paths):
    silent = [
        (name, status)
        for name, operation in operations(paths)
        if name.split()[1].startswith(LONG_WORK)
        for status, answer in operation["responses"].items()
        if not any(kind == "text/event-stream" or told for kind, told in answer["content"].items())
    ]
    assert silent == [("GET /v1/jobs/{job_id}/preview", "200")]
    content = paths["/v1/jobs/{job_id}/preview"]["get"]["responses"]["200"]["content"]
    assert list(content) == ["image/*"]


def test_a_post_says_what_it_takes(paths):
    takes_nothing = {"/v1/jobs/{job_id}/cancel", "/v1/batches/{batch_id}/cancel"}
    found = {
        path: "requestBody" in each["post"]
        for path, each in paths.items()
        if path.startswith(LONG_WORK) and "post" in each
    }
    assert {path for path, takes in found.items() if not takes} == takes_nothing
    assert len(found) > len(takes_nothing) + 4


def test_files_say_that_parts_of_them_can_be_had(paths):
    for path in FILES:
        operation = paths[path]["get"]
        assert "Range" in names(operation)
        assert {"200", "206"} <= set(operation["responses"])


def test_what_can_be_had_later_says_so(paths):
    for path in ("/v1/chat/completions", "/v1/images/edits", "/v1/audio/speech"):
        operation = paths[path]["post"]
        assert "Prefer" in names(operation)
        schema = operation["responses"]["202"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/JobAnswer"}
    for path in ("/v1/videos", "/v1/batches", "/v1/files"):
        assert "202" not in paths[path]["post"]["responses"]


def test_submissions_say_how_they_are_repeated_safely(paths):
    for path in ("/v1/jobs", "/v1/videos", "/v1/videos/{video_id}/remix"):
        assert "Idempotency-Key" in names(paths[path]["post"])
    assert "Last-Event-ID" in names(paths["/v1/jobs/{job_id}/events"]["get"])
