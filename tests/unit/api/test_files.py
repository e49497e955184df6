"""`/v1/files`, through OpenAI's own client and byte by byte."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import httpx2
import openai
import pytest
from sqlalchemy import delete

from onebox.api.app import create_app
from onebox.services.tables import UPLOADED_FILES
from onebox.services.uploads import Uploads
from tests.unit.api.asking import ADMIN, USER, ask, in_loop
from tests.unit.api.sounds import Part, form

LINES = ("lines.jsonl", b'{"custom_id": "a"}\n', "application/jsonl")
DAY_S = 86_400


def app_over(services, folder):
    uploads = Uploads(services.database, folder, ttl_days=30, max_bytes=3000)
    return create_app(dataclasses.replace(services, uploads=uploads))


@pytest.fixture(scope="module")
def app(services, tmp_path_factory):
    return app_over(services, tmp_path_factory.mktemp("uploads"))


@pytest.fixture
def empty_app(services, tmp_path):
    """One without files."""
    services.database.write_now(lambda c: c.execute(delete(UPLOADED_FILES)))
    return app_over(services, tmp_path)


def upload(app, *parts: tuple[str, Part], headers: dict[str, str] = USER):
    form_headers, body = form(parts)
    return ask(app, "POST", "/v1/files", {**headers, **form_headers}, body)


def uploaded(app, *, file: Part = LINES, **fields: str) -> dict[str, Any]:
    answer = upload(app, ("file", file), *{"purpose": "batch", **fields}.items())
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def client_of(app) -> openai.AsyncOpenAI:
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app))
    return openai.AsyncOpenAI(
        base_url="http://testserver/v1", api_key="user-key", max_retries=0, http_client=http
    )


def test_the_sdk_uploads_lists_reads_and_deletes(empty_app):
    @in_loop
    async def use() -> None:
        async with client_of(empty_app) as client:
            made = await client.files.create(
                file=LINES,
                purpose="batch",
                expires_after={"anchor": "created_at", "seconds": 3600},
            )
            assert (made.object, made.bytes, made.filename) == ("file", 19, "lines.jsonl")
            assert (made.purpose, made.status) == ("batch", "processed")
            assert made.expires_at == made.created_at + 3600
            assert await client.files.retrieve(made.id) == made
            assert await client.files.wait_for_processing(made.id) == made
            assert (await client.files.content(made.id)).content == LINES[1]
            others = [await client.files.create(file=LINES, purpose="vision") for _ in range(3)]
            assert others[0].expires_at == others[0].created_at + 30 * DAY_S
            found = [file.id async for file in client.files.list(limit=2, order="asc")]
            assert found == [made.id, *(other.id for other in others)]
            found = [file.id async for file in client.files.list(purpose="batch")]
            assert found == [made.id]
            for other in others:
                await client.files.delete(other.id)
            gone = await client.files.delete(made.id)
            assert (gone.id, gone.deleted, gone.object) == (made.id, True, "file")
            with pytest.raises(openai.NotFoundError) as caught:
                await client.files.retrieve(made.id)
            assert caught.value.code == "file_not_found"

    use()


def test_another_key_does_not_see_it_whatever_its_scopes(app):
    made = uploaded(app)
    path = f"/v1/files/{made['id']}"
    for method, target in (("GET", path), ("GET", f"{path}/content"), ("DELETE", path)):
        assert ask(app, method, target, ADMIN).status == 404
    assert json.loads(ask(app, "GET", "/v1/files", ADMIN).body)["data"] == []


def test_bytes_are_served_as_nothing_that_a_browser_would_run(app):
    made = uploaded(app, file=("x.html", b"<script>", "text/html"))
    answer = ask(app, "GET", f"/v1/files/{made['id']}/content", USER)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == 'attachment; filename="x.html"'


def test_a_part_of_the_bytes(app):
    made = uploaded(app)
    headers = {**USER, "range": "bytes=2-10"}
    answer = ask(app, "GET", f"/v1/files/{made['id']}/content", headers)
    assert (answer.status, answer.body) == (206, LINES[1][2:11])


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([("purpose", "batch")], "file"),
        ([("file", "text"), ("purpose", "batch")], "file"),
        ([("file", LINES), ("file", LINES), ("purpose", "batch")], "file"),
        ([("file", LINES)], "purpose"),
        ([("file", LINES), ("purpose", "batch_output")], "purpose"),
        ([("file", LINES), ("purpose", LINES)], "purpose"),
        (
            [
                ("file", LINES),
                ("purpose", "batch"),
                ("expires_after[anchor]", "created_at"),
                ("expires_after[seconds]", "60"),
            ],
            "expires_after.seconds",
        ),
        (
            [
                ("file", LINES),
                ("purpose", "batch"),
                ("expires_after[anchor]", "last_active_at"),
                ("expires_after[seconds]", "3600"),
            ],
            "expires_after.anchor",
        ),
    ],
)
def test_a_form_that_is_not_one_of_a_file_is_refused_by_the_name_of_the_field(app, parts, param):
    answer = upload(app, *parts)
    assert (answer.status, answer.error["param"]) == (400, param)


def test_a_body_that_is_no_form_is_refused(app):
    answer = ask(app, "POST", "/v1/files", USER, b"{}")
    assert answer.status == 400
    assert "multipart/form-data" in answer.error["message"]


def test_a_file_over_the_limit_of_bodies_is_refused(app):
    answer = upload(app, ("file", ("a", b"x" * 5000, "text/plain")), ("purpose", "batch"))
    assert (answer.status, answer.error["code"]) == (413, "payload_too_large")


def test_a_full_store_says_what_to_do(empty_app):
    for _ in range(3):
        answer = upload(empty_app, ("file", ("a", b"x" * 1001, "text/plain")), ("purpose", "batch"))
    assert (answer.status, answer.error["code"]) == (507, "storage_full")
    assert "ONEBOX_UPLOAD_STORE" in answer.error["message"]


@pytest.mark.parametrize(
    "file_id", ["..", "%2e%2e%2fonebox.db", "file_" + "a" * 27, "file-abc", "\x00"]
)
def test_a_path_in_place_of_an_id_is_not_found(app, file_id):
    for method, target in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert ask(app, method, f"/v1/files/{file_id}{target}", USER).status == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "order=up", "after=x"])
def test_an_odd_page_is_refused(app, query):
    assert ask(app, "GET", f"/v1/files?{query}", USER).status == 400


def test_the_page_of_the_api_shows_the_form(app):
    operation = app.openapi()["paths"]["/v1/files"]["post"]
    schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["properties"]["file"]["format"] == "binary"
    assert set(schema["required"]) == {"file", "purpose"}
