from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest

from onebox.api.app import create_app
from onebox.runtime.wire import Progress, Started
from onebox.services.admission import Admission
from onebox.services.running import RunningRequests
from tests.unit.api.asking import ADMIN, USER, ask
from tests.unit.api.fakes import Pool, Pools, bundle, worker


@pytest.fixture
def running():
    return RunningRequests()


@pytest.fixture
def admission():
    return Admission(max_waiting=9, max_waiting_per_model=9, max_per_caller=None)


@pytest.fixture
def app(services, running, admission):
    busy = bundle("alpha", leases=2, reserved_bytes=30)
    pool = Pool(
        worker(busy, bundle("beta"), bundle("new", state="loading"), lives=3),
        worker(index=1, state="failed", reason="no such device", hello=None, last_stats=None),
    )
    replaced = dataclasses.replace(
        services, pool=pool, pools=Pools(), running=running, admission=admission
    )
    return create_app(replaced)


def status(app, headers):
    answer = ask(app, "GET", "/v1/status", headers)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def enter(running, client_id, caller, **facts):
    given = {"task": "t", "model": "alpha", "key": "k", "priority": "job", **facts}
    return running.enter("wire", client_id, caller, **given)


def test_devices_and_what_is_in_them(app):
    answer = status(app, USER)
    up, down = answer["devices"]
    assert answer["server"]["version"]
    assert up["pool"] == {"name": "host", "budget_bytes": 1000, "used_bytes": 330}
    assert (up["share_bytes"], up["restarts"], up["state"]) == (400, 2, "ready")
    assert (up["returned_bytes"], up["leaked_bytes"]) == (8, 9)
    assert [item["idle"] for item in up["bundles"]] == [False, True, False]
    assert (down["state"], down["reason"], down["pool"]) == ("failed", "no such device", None)
    assert down["bundles"] == []


def test_what_waits(app, running, admission):
    enter(running, "1", "key:other")
    with admission.enter(0, "k", "alpha", "key:other"):
        queue = status(app, USER)["queue"]
    assert queue == {
        "waiting": 1,
        "workers": [{"worker": 0, "waiting": 1}, {"worker": 1, "waiting": 0}],
        "models": [{"model": "alpha", "waiting": 1}],
    }
    assert status(app, USER)["queue"]["models"] == []


def test_a_key_with_a_list_of_models_is_told_of_no_other(services, running, admission):
    limited = json.dumps({"name": "x", "models": ["alpha"]}).encode()
    catalogue = SimpleNamespace(entries=lambda _: [SimpleNamespace(key="key-alpha")])
    pool = Pool(worker(bundle("alpha"), bundle("beta")))
    parts = {"pool": pool, "pools": Pools(), "running": running, "admission": admission}
    app = create_app(dataclasses.replace(services, catalogue=catalogue, **parts))
    secret = json.loads(ask(app, "POST", "/v1/keys", ADMIN, limited).body)["key"]
    for name in ("alpha", "beta"):
        enter(running, name, "key:other", model=name, key=f"key-{name}")
    with (
        admission.enter(0, "key-alpha", "alpha", "key:other"),
        admission.enter(0, "key-beta", "beta", "key:other"),
    ):
        told = status(app, {"authorization": f"Bearer {secret}"})
    (device,), queue = told["devices"], told["queue"]
    assert [item["name"] for item in device["bundles"]] == ["alpha"]
    assert queue["models"] == [{"model": "alpha", "waiting": 1}]
    assert (device["pool"]["used_bytes"], queue["waiting"]) == (200, 2)
    assert "beta" not in json.dumps(told)


def test_a_caller_sees_its_own_requests_and_how_many_others_there_are(app, services, running):
    user = services.access.authenticator.authenticate(USER["authorization"])
    mine = enter(running, "mine", user.id)
    mine.observe(Started("wire"))
    mine.observe(Progress("wire", 3, 12))
    enter(running, "theirs", "key:other")
    answer = status(app, USER)["running"]
    assert answer["count"] == 2
    (shown,) = answer["requests"]
    assert (shown["id"], shown["state"], shown["progress"]) == ("mine", "running", 0.25)
    everybody = status(app, ADMIN)["running"]["requests"]
    assert [item["id"] for item in everybody] == ["mine", "theirs"]


class Preloader:
    def __init__(self, *missing: str) -> None:
        self.missing = list(missing)

    def ready(self) -> bool:
        return not self.missing

    def reasons(self) -> list[str]:
        return self.missing


def test_ready_waits_for_what_is_preloaded(services):
    preloader = Preloader("alpha is not loaded yet")
    app = create_app(dataclasses.replace(services, pool=Pool(worker()), preloader=preloader))
    answer = ask(app, "GET", "/ready")
    assert (answer.status, answer.error["code"]) == (503, "worker_unready")
    assert answer.error["details"] == {"reasons": ["alpha is not loaded yet"]}
    preloader.missing.clear()
    assert ask(app, "GET", "/ready").status == 200
