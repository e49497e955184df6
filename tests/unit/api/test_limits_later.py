"""What is done later was counted when it came."""

from __future__ import annotations

import copy
import dataclasses

import pytest

from tests.unit.api.later import Later, with_server
from tests.unit.api.texts import HI
from tests.unit.services.limited import Limited

LATER = {"prefer": "respond-async"}
CHAT = {"messages": HI, "model": "m"}


@pytest.fixture(scope="module")
def limited_services(services):
    return dataclasses.replace(services, access=copy.copy(services.access))


def test_a_request_that_is_answered_later_counts_once(limited_services, tmp_path):
    limited_services.access.limits = Limited(limit_text=2).limits

    async def use(later: Later):
        async def post():
            return await later.client.post("/v1/chat/completions", json=CHAT, headers=LATER)

        accepted = [await post() for _ in range(3)]
        assert [answer.status_code for answer in accepted] == [202, 202, 429]
        assert accepted[1].headers["x-ratelimit-remaining-requests"] == "0"
        # What the server then sends to itself is not counted, and so not refused.
        ended = [await later.finished(answer.json()["id"]) for answer in accepted[:2]]
        assert [job["status"] for job in ended] == ["completed", "completed"]

    with_server(limited_services, tmp_path, use)


def test_a_job_counts_once_when_it_is_submitted(limited_services, tmp_path):
    limited_services.access.limits = Limited(limit_images=2).limits
    asked = {"task": "text-to-image", "input": {"prompt": "x"}}

    async def use(later: Later):
        accepted = [await later.client.post("/v1/jobs", json=asked) for _ in range(3)]
        assert [answer.status_code for answer in accepted] == [202, 202, 429]
        told = [answer.headers["x-ratelimit-remaining-requests"] for answer in accepted]
        assert told == ["1", "0", "0"]
        ended = [await later.finished(answer.json()["id"]) for answer in accepted[:2]]
        assert [job["status"] for job in ended] == ["completed", "completed"]

    with_server(limited_services, tmp_path, use)
