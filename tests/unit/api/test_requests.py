from __future__ import annotations

import dataclasses
import json

import pytest

from onebox.api.app import create_app
from onebox.core.errors import RequestIdTaken
from onebox.services.running import RunningRequests
from tests.unit.api.asking import ADMIN, USER, ask


@pytest.fixture
def running():
    return RunningRequests()


@pytest.fixture
def app(services, running):
    return create_app(dataclasses.replace(services, running=running))


def enter(running, client_id, caller):
    facts = {"task": "t", "model": "m", "key": "k", "priority": "interactive"}
    return running.enter("wire", client_id, caller, **facts)


def own(services):
    return services.access.authenticator.authenticate(USER["authorization"]).id


@pytest.mark.parametrize("name", ["mine-1", "a/b c", "cancel", "é%", "x" * 64])
def test_ones_own_request(app, services, running, name):
    request = enter(running, name, own(services))
    target = f"/v1/requests/{name.replace('%', '%25')}/cancel"
    answer = ask(app, "POST", target, USER)
    assert json.loads(answer.body) == {"id": name, "status": "cancelling", "requests": 1}
    assert request.cancelled


def test_that_of_another_is_as_good_as_unknown(app, running):
    request = enter(running, "theirs", "key:other")
    other = ask(app, "POST", "/v1/requests/theirs/cancel", USER)
    unknown = ask(app, "POST", "/v1/requests/unknown/cancel", USER)
    assert (other.status, other.error["code"]) == (404, "request_not_found")
    assert other.error["message"].replace("theirs", "unknown") == unknown.error["message"]
    assert not request.cancelled


def test_a_manager_may_cancel_those_of_others(app, running):
    requests = [enter(running, "same", caller) for caller in ("key:one", "key:two")]
    answer = ask(app, "POST", "/v1/requests/same/cancel", ADMIN)
    assert json.loads(answer.body)["requests"] == 2
    assert all(request.cancelled for request in requests)


def test_a_taken_id_is_409_and_not_to_be_tried_again(services):
    class Inference:
        async def prepare(self, *args, options, **kwargs):
            raise RequestIdTaken(f"{options.client_id} is taken", param="id")

    app = create_app(dataclasses.replace(services, inference=Inference()))
    headers = {**USER, "x-request-id": "mine-1"}
    answer = ask(app, "POST", "/v1/tasks/text-to-image", headers, b'{"prompt": "x"}')
    assert (answer.status, answer.error["code"]) == (409, "request_id_taken")
    assert answer.headers["x-should-retry"] == "false"
    assert "mine-1" in answer.error["message"]
