from __future__ import annotations

import dataclasses
import json

import pytest

from onebox.api.app import create_app
from onebox.core.errors import ModelBusy, OutOfMemory
from onebox.services.models import Rescan
from tests.unit.api.asking import ADMIN, USER, ask
from tests.unit.api.fakes import Models, Residency

SHA = "ab" * 32


@pytest.fixture
def residency():
    return Residency()


class Control:
    def __init__(self) -> None:
        self.deleted = []

    async def delete(self, entry, *, files):
        self.deleted.append((entry.name, files))
        return [entry.path] if files else []

    async def rescan(self):
        return Rescan(3, added=2, removed=1)


@pytest.fixture
def control():
    return Control()


@pytest.fixture
def app(services, residency, control):
    models = Models("alpha", "org/beta", "x/memory", "rescan", "load", **{SHA: "x/memory"})
    replaced = dataclasses.replace(
        services, registry=models, catalogue=models, residency=residency, models=control
    )
    return create_app(replaced)


def manager(services):
    token = services.access.authenticator.sign("m", ["infer", "manage"], 60)
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("POST", "/v1/models/alpha/load", "manage"),
        ("POST", "/v1/models/alpha/unload", "manage"),
        ("POST", "/v1/models/rescan", "manage"),
        ("POST", "/v1/models/alpha/unload?force=true", "admin"),
        ("DELETE", "/v1/models/alpha", "admin"),
        ("DELETE", "/v1/models/alpha?files=true", "admin"),
    ],
)
def test_scopes(app, services, residency, control, method, path, needed):
    callers = {"infer": USER, "manage": manager(services), "admin": ADMIN}
    allowed = list(callers)[list(callers).index(needed) :]
    for scope, headers in callers.items():
        answer = ask(app, method, path, headers)
        assert answer.status == (200 if scope in allowed else 403), scope
        if scope not in allowed:
            assert answer.error["code"] == "insufficient_scope"
            assert residency.asked == control.deleted == []


def test_load_as_json(app, residency):
    answer = ask(app, "POST", "/v1/models/org%2Fbeta/load", ADMIN, b'{"timeout_s": 9}')
    assert json.loads(answer.body) == {
        "id": "org/beta",
        "object": "model",
        "status": "loaded",
        "device": "cpu",
        "loaded_bytes": 123,
        "load_s": 0.25,
    }
    assert residency.asked == [("load", "org/beta", 9)]


def events(answer):
    blocks = [part for part in answer.body.decode().split("\n\n") if part.startswith("event")]
    named = [block.removeprefix("event: ").split("\ndata: ") for block in blocks]
    return [(name, json.loads(data)) for name, data in named]


def test_load_with_progress(app):
    headers = {**ADMIN, "accept": "text/event-stream"}
    answer = ask(app, "POST", "/v1/models/alpha/load", headers)
    *loading, (last, data) = events(answer)
    assert loading == [("loading", {"fraction": 0.5}), ("loading", {"fraction": 1.0})]
    assert (last, data["id"], data["loaded_bytes"]) == ("loaded", "alpha", 123)


def test_a_load_that_fails(app, residency):
    residency.failure = OutOfMemory("all in use", retry_after_s=4)
    plain = ask(app, "POST", "/v1/models/alpha/load", ADMIN)
    assert (plain.status, plain.headers["retry-after"]) == (503, "4")
    stream = ask(app, "POST", "/v1/models/alpha/load", {**ADMIN, "accept": "text/event-stream"})
    name, data = events(stream)[-1]
    assert (name, data["error"]["code"]) == ("error", "insufficient_memory")


@pytest.mark.parametrize(
    ("query", "body", "force"),
    [
        ("", b"", False),
        ("", b"{}", False),
        ("?force=true", b"", True),
        ("", b'{"force": true}', True),
        ("?force=true", b'{"force": false}', True),
    ],
)
def test_unload(app, residency, query, body, force):
    answer = ask(app, "POST", f"/v1/models/alpha/unload{query}", ADMIN, body)
    assert json.loads(answer.body) == {
        "id": "alpha",
        "object": "model",
        "status": "unloaded",
        "was_loaded": True,
    }
    assert residency.asked == [("unload", "alpha", force)]


def test_a_model_in_use_is_409_and_not_to_be_asked_again(app, residency):
    residency.failure = ModelBusy("in use")
    answer = ask(app, "POST", "/v1/models/alpha/unload", ADMIN)
    assert (answer.status, answer.headers["x-should-retry"]) == (409, "false")


@pytest.mark.parametrize(("query", "removed"), [("", []), ("?files=true", ["/models/alpha"])])
def test_delete(app, control, query, removed):
    answer = ask(app, "DELETE", f"/v1/models/alpha{query}", ADMIN)
    assert json.loads(answer.body) == {
        "id": "alpha",
        "object": "model",
        "deleted": True,
        "files_removed": removed,
    }
    assert control.deleted == [("alpha", bool(removed))]


def test_rescan(app):
    answer = ask(app, "POST", "/v1/models/rescan", ADMIN)
    assert json.loads(answer.body) == {"models": 3, "added": 2, "removed": 1}


@pytest.mark.parametrize("name", ["rescan", "load", "x/memory", "org/beta"])
def test_names_that_look_like_routes(app, residency, control, name):
    assert ask(app, "POST", f"/v1/models/{name}/load", ADMIN).status == 200
    assert residency.asked == [("load", name, None)]
    assert ask(app, "DELETE", f"/v1/models/{name}", ADMIN).status == 200
    assert control.deleted == [(name, False)]


@pytest.mark.parametrize("path", [f"/v1/models/{SHA}", "/v1/models/rescan", "/v1/models/load"])
def test_every_model_is_reached_by_its_id(app, path):
    answer = ask(app, "GET", path, USER)
    assert json.loads(answer.body)["name"] == {SHA: "x/memory"}.get(
        path.removeprefix("/v1/models/"), path.removeprefix("/v1/models/")
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/nope/load"),
        ("POST", "/v1/models/nope/unload"),
        ("POST", "/v1/models//load"),
        ("DELETE", "/v1/models/nope?files=true"),
        ("GET", "/v1/models/nope/memory"),
    ],
)
def test_an_unknown_model(app, control, method, path):
    answer = ask(app, method, path, ADMIN)
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert control.deleted == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("load", b'{"timeout_s": 0}'),
        ("load", b'{"timeout_s": 1e9}'),
        ("load", b'{"timeuot_s": 1}'),
        ("unload", b'{"force": "maybe"}'),
        ("unload?force=maybe", b""),
        ("unload", b"{"),
    ],
)
def test_a_wrong_body(app, residency, path, body):
    assert ask(app, "POST", f"/v1/models/alpha/{path}", ADMIN, body).status == 422
    assert residency.asked == []
