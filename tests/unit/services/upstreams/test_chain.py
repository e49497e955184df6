"""What a request takes along to another server, and how a circle of servers ends."""

from __future__ import annotations

import re

import pytest
import structlog

from onebox.api.middleware import REQUEST_ID
from onebox.core.errors import UpstreamLoop
from onebox.services.upstreams.chain import MOST_SERVERS, NAME, came_through, own_name
from tests.support.stand_in import json_reply
from tests.unit.services.upstreams.asking import play

VECTORS = json_reply({"data": [{"embedding": [0.5], "index": 0}]})
OTHER = "onebox-0123456789abcdef"


def ask(folder, via, reply=VECTORS, **bound):
    """What the upstream was asked, and what came of it."""

    async def scene(server, create):
        asker = create(max_concurrent=1)
        if via is not None:
            came_through(via)
        with structlog.contextvars.bound_contextvars(**bound):
            told = await asker.ask("embeddings", inputs=["a"])
        return server.asked, asker, told

    return play(folder, reply, scene=scene)


def test_the_id_and_the_trace_of_a_request_go_along(tmp_path):
    (asked,), _, _ = ask(tmp_path, None, request_id="r-1", trace_id="ab" * 16, span_id="cd" * 8)
    assert re.fullmatch(r"r-1\.[0-9a-f]{8}", asked.headers["x-request-id"])
    assert asked.headers["traceparent"] == f"00-{'ab' * 16}-{'cd' * 8}-01"


def test_each_try_has_an_id_of_its_own(tmp_path):
    """Onebox refuses one that it still works on."""

    async def scene(server, create):
        with structlog.contextvars.bound_contextvars(request_id="r" * 64):
            await create().ask("embeddings", inputs=["a"])
        return [asked.headers["x-request-id"] for asked in server.asked]

    ids = play(tmp_path, json_reply({}, 500), VECTORS, scene=scene)
    assert len(set(ids)) == 2
    assert all(REQUEST_ID.match(one) for one in ids)


def test_without_a_request_there_is_only_the_own_name(tmp_path):
    (asked,), _, _ = ask(tmp_path, None)
    assert asked.headers["via"] == f"1.1 {own_name()}"
    assert not {"x-request-id", "traceparent"} & asked.headers.keys()


def test_servers_on_the_way_are_named_and_nothing_else_of_theirs(tmp_path):
    (asked,), _, _ = ask(tmp_path, f"1.1 {OTHER}, 2 proxy.example (a comment), 1.1 onebox-x")
    assert asked.headers["via"] == f"1.1 {OTHER}, 1.1 {own_name()}"


@pytest.mark.parametrize(
    "passed", [["own"], [OTHER, "own"], [OTHER] * MOST_SERVERS], ids=["self", "pair", "long"]
)
def test_a_circle_ends_before_anything_is_sent(tmp_path, passed):
    via = ", ".join(f"1.1 {own_name() if name == 'own' else name}" for name in passed)
    asked, asker, told = ask(tmp_path, via)
    assert isinstance(told.error, UpstreamLoop)
    assert (asked, asker.waits, asker.ends) == ([], [], ["upstream_loop"])


def test_that_a_circle_ended_further_on_is_passed_back_at_once(tmp_path):
    asked, asker, told = ask(tmp_path, None, json_reply({"error": {}}, 508))
    assert isinstance(told.error, UpstreamLoop)
    assert (len(asked), asker.waits) == (1, [])


def test_a_process_has_a_name_that_others_know(tmp_path):
    assert NAME.fullmatch(own_name())
    assert own_name() == own_name() != OTHER
