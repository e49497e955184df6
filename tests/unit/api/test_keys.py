"""`/v1/keys`, and what a key with limits may use, through the whole app."""

from __future__ import annotations

import json
from typing import Any

import pytest

from onebox.core.usage_units import UNITS
from tests.unit.api.asking import ADMIN, USER, Answer, ask

HIDDEN = {"digest", "previous_digest", "key", "secret"}


def post(app, path: str, body: dict[str, Any] | None = None, headers=ADMIN) -> Answer:
    return ask(app, "POST", path, headers, b"" if body is None else json.dumps(body).encode())


def made(app, **body: Any) -> dict[str, Any]:
    answer = post(app, "/v1/keys", {"name": "ada", **body})
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_a_key_is_made_used_rotated_and_revoked(app):
    key = made(app, scopes=["infer", "manage"])
    path = f"/v1/keys/{key['id']}"
    assert ask(app, "GET", "/v1/models", bearer(key["key"])).status == 200
    rotated = json.loads(post(app, f"{path}/rotate", {"grace_seconds": 0}).body)
    assert (rotated["id"], rotated["previous_expires_at"]) == (key["id"], None)
    assert ask(app, "GET", "/v1/models", bearer(key["key"])).status == 401
    assert ask(app, "GET", "/v1/models", bearer(rotated["key"])).status == 200
    revoked = json.loads(ask(app, "DELETE", path, ADMIN).body)
    assert revoked["state"] == "revoked"
    answer = ask(app, "GET", "/v1/models", bearer(rotated["key"]))
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


def test_without_a_body_a_rotation_leaves_a_day(app):
    key = made(app)
    rotated = json.loads(post(app, f"/v1/keys/{key['id']}/rotate").body)
    assert rotated["previous_expires_at"] > rotated["created_at"] + 86_000
    assert ask(app, "GET", "/v1/models", bearer(key["key"])).status == 200


def test_no_secret_is_in_an_answer_that_is_not_its_own_and_none_is_cached(app):
    key = made(app)
    path = f"/v1/keys/{key['id']}"
    for method, target in (("GET", path), ("GET", "/v1/keys"), ("POST", path), ("DELETE", path)):
        answer = ask(app, method, target, ADMIN, b"{}")
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
        assert key["key"].encode() not in answer.body
        told = json.loads(answer.body)
        assert not HIDDEN & set(told.get("data", [told])[0])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/keys"),
        ("GET", "/v1/keys"),
        ("GET", "/v1/keys/x"),
        ("POST", "/v1/keys/x"),
        ("POST", "/v1/keys/x/rotate"),
        ("DELETE", "/v1/keys/x"),
    ],
)
def test_only_admins_see_and_change_keys(app, method, path):
    manager = bearer(made(app, scopes=["infer", "manage"])["key"])
    for headers in (USER, manager):
        answer = ask(app, method, path, headers, b"{}")
        assert (answer.status, answer.error["code"]) == (403, "insufficient_scope")


@pytest.mark.parametrize("key_id", ["x", "key_x", "key_" + "0" * 26, "job_" + "0" * 26])
def test_a_key_that_is_not_there(app, key_id):
    for method, path in (("GET", ""), ("POST", ""), ("POST", "/rotate"), ("DELETE", "")):
        answer = ask(app, method, f"/v1/keys/{key_id}{path}", ADMIN, b"{}")
        assert (answer.status, answer.error["code"]) == (404, "key_not_found")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 129),
        ("name", "a\nb"),
        ("scopes", ["root"]),
        ("scopes", []),
        ("models", "tiny"),
        ("models", [""]),
        ("requests_per_minute", 0),
        ("max_concurrent", -1),
        ("daily", {"unicorns": 1}),
        ("monthly", {"pictures": -1}),
        ("expires_at", 1),
        ("digest", "0" * 64),
    ],
)
def test_what_makes_no_sense_is_refused(app, field, value):
    key = made(app)
    for path in ("/v1/keys", f"/v1/keys/{key['id']}"):
        answer = post(app, path, {"name": "ada", field: value})
        assert answer.status == 422
        assert answer.error["param"].startswith(field)


def test_an_update_keeps_what_it_does_not_name_and_null_takes_limits_away(app):
    limits = {"max_concurrent": 2, "daily": {"pictures": 3}, "models": ["a"]}
    key = made(app, **limits)
    path = f"/v1/keys/{key['id']}"
    told = json.loads(post(app, path, {"daily": None, "models": None, "name": "bob"}).body)
    assert (told["name"], told["max_concurrent"]) == ("bob", 2)
    assert (told["daily"], told["models"], told["scopes"]) == ({}, None, ["infer"])


def test_quotas_are_of_the_units_that_usage_is_counted_in(app):
    schemas = app.openapi()["components"]["schemas"]
    assert set(UNITS) <= set(json.dumps(schemas["NewKey"]["properties"]["daily"]).split('"'))


def test_keys_come_in_pages(app):
    newest = [made(app)["id"] for _ in range(3)][::-1]
    first = json.loads(ask(app, "GET", "/v1/keys?limit=2", ADMIN).body)
    assert ([key["id"] for key in first["data"]], first["has_more"]) == (newest[:2], True)
    rest = json.loads(ask(app, "GET", f"/v1/keys?limit=1&after={first['last_id']}", ADMIN).body)
    assert rest["data"][0]["id"] == newest[2]
    assert ask(app, "GET", "/v1/keys?after=x", ADMIN).status == 422
