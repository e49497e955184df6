"""`/v1/batches`: lists of batches, whose they are, and what is refused."""

from __future__ import annotations

import pytest

from tests.unit.api.asking import ADMIN
from tests.unit.api.batching import (
    EMBEDDINGS,
    HOURS,
    Client,
    embedding,
)
from tests.unit.api.later import Later, with_server


def test_a_page_of_batches_and_what_they_were_told(services, tmp_path):
    async def use(later: Later):
        client = Client(later)
        file_id = await client.upload(embedding("a"))
        made = [
            await client.sdk.batches.create(
                input_file_id=file_id,
                endpoint=EMBEDDINGS,
                completion_window="24h",
                metadata={"number": str(number)},
                output_expires_after={"anchor": "created_at", "seconds": 2 * HOURS},
            )
            for number in range(3)
        ]
        page = await client.sdk.batches.list(limit=2)
        assert [batch.id for batch in page.data] == [made[2].id, made[1].id]
        everything = [batch async for batch in client.sdk.batches.list(limit=2)]
        assert [batch.metadata for batch in everything] == [{"number": n} for n in "210"]
        batch = await client.ended(made[0].id)
        file = await client.sdk.files.retrieve(batch.output_file_id)
        assert file.expires_at == file.created_at + 2 * HOURS
        assert batch.expires_at == batch.created_at + 24 * HOURS

    with_server(services, tmp_path, use)


def test_a_batch_is_its_owners_alone(services, tmp_path):
    async def use(later: Later):
        client = Client(later)
        batch_id = await client.begin(embedding("a"))
        own = await client.ended(batch_id)
        assert own.status == "completed"
        path = f"/v1/batches/{batch_id}"
        # Another key, of an admin, sees it too, and has none of its own.
        seen = await later.client.get(path, headers=ADMIN)
        listed = await later.client.get("/v1/batches", headers=ADMIN)
        assert (seen.json()["id"], listed.json()["data"]) == (batch_id, [])
        token = later.sign("somebody")
        for method, target in (("GET", path), ("POST", f"{path}/cancel")):
            other = await later.client.request(method, target, headers=token)
            assert (other.status_code, other.json()["error"]["code"]) == (404, "batch_not_found")

    with_server(services, tmp_path, use)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input_file_id": "file_" + "0" * 26}, "input_file_id"),
        ({"input_file_id": "../../etc/passwd"}, "input_file_id"),
        ({"endpoint": "/v1/models"}, "endpoint"),
        ({"endpoint": "/v1/jobs"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "0h"}, "completion_window"),
        ({"completion_window": "8d"}, "completion_window"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_what_is_refused(services, tmp_path, change, param):
    async def use(later: Later):
        file_id = await Client(later).upload(embedding("a"))
        body = {"input_file_id": file_id, "endpoint": EMBEDDINGS, "completion_window": "24h"}
        answer = await later.client.post("/v1/batches", json={**body, **change})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"].startswith(param)

    with_server(services, tmp_path, use)


def test_a_file_for_something_else_is_refused(services, tmp_path):
    async def use(later: Later):
        file_id = await Client(later).upload(embedding("a"), purpose="user_data")
        body = {"input_file_id": file_id, "endpoint": EMBEDDINGS, "completion_window": "24h"}
        answer = await later.client.post("/v1/batches", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input_file_id")

    with_server(services, tmp_path, use)


@pytest.mark.parametrize(
    "batch_id", ["batch_1", "job_" + "0" * 26, "..%2F..%2Fx", "batch_" + "0" * 26]
)
def test_an_unknown_id_is_not_found(services, tmp_path, batch_id):
    async def use(later: Later):
        answer = await later.client.get(f"/v1/batches/{batch_id}")
        assert answer.status_code == 404

    with_server(services, tmp_path, use)
