"""A key that may use some models alone: what it finds, and what it is refused."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest

from onebox.api.app import create_app
from onebox.core.companions import Companion
from onebox.core.contracts import Entry
from onebox.core.errors import InvalidInput, ModelNotAllowed, ModelNotFound
from onebox.registry.names import NameIndex, NameRules
from onebox.services.catalogue import Catalogue
from onebox.services.named_models import require_allowed
from tests.unit.api.asking import ADMIN, ask, build, tear_down

SHA = "ab" * 32
RULES = NameRules(
    aliases={"mine": "org/smol"},
    task_aliases={"gpt-4o-mini": "chat"},
    default_models={"chat": "org/smol"},
)


def entry(name: str, task: str, **further: Any) -> Entry:
    return Entry(f"key-{name}", name, f"/m/{name}", "", 1, "ready", tasks=(task,), **further)


SMOL = entry("org/smol", "chat", aliases=("little",), sha256=SHA)
BIG = entry("org/big", "chat")
TURBO = entry("sd-turbo", "text-to-image")
LORA = entry("loras/ink", "", kind="lora")


class Shelf:
    """A registry of these models, which lie still."""

    def __init__(self, *entries: Entry) -> None:
        self.found = list(entries)
        self.names = NameIndex([(each.name, each) for each in entries], RULES)
        self.is_among = self.names.is_among
        self.default_for = self.names.default_for

    def entries(self) -> list[Entry]:
        return self.found

    def resolve(self, name: str, *, task: str | None = None) -> Entry:
        return self.names.resolve(name, task)

    def ensure_fresh(self, found: Entry) -> Entry:
        return found


async def unconverted(found: Entry, timeout_s: float | None) -> Entry:
    return found


def catalogue(*entries: Entry) -> Catalogue:
    return Catalogue(Shelf(*(entries or (SMOL, BIG, TURBO, LORA))), lambda _: False, unconverted)


def find(model: str | None, *allowed: str, task: str = "chat", of: tuple[Entry, ...] = ()) -> Entry:
    return asyncio.run(catalogue(*of).find(task, model, allowed=allowed))


@pytest.mark.parametrize(
    "name", ["org/smol", "little", "mine", SHA, "org/*", "*", "org/s*", "gpt-4o-mini"]
)
def test_every_way_to_allow_a_model(name):
    assert find("org/smol", name) is SMOL
    assert find("mine", "other", name) is SMOL


@pytest.mark.parametrize("name", ["smol", "org", "org/smo", SHA[:8], "org/smol2", "ORG/SMOL", ""])
def test_what_is_no_name_of_it_allows_nothing(name):
    with pytest.raises(ModelNotAllowed, match="org/smol"):
        find("org/smol", name)


def test_without_a_model_the_default_is_taken_where_it_is_allowed():
    assert find(None, "org/*") is SMOL
    assert find(None, "org/big") is BIG


def test_without_a_model_the_only_one_that_is_allowed_is_taken():
    others = (SMOL, BIG, entry("org/huge", "chat"))
    with pytest.raises(InvalidInput, match="org/big, org/huge"):
        find(None, "org/big", "org/huge", of=others)
    with pytest.raises(ModelNotAllowed):
        find(None, "sd-turbo")
    with pytest.raises(ModelNotAllowed):
        find(None)


def prepared(companions: tuple[Companion, ...] = (), **fields: Any) -> Any:
    task = SimpleNamespace(companions=lambda *_: companions)
    found = {"lora": LORA}
    return SimpleNamespace(task=task, entry=TURBO, input=fields.items(), companions=found)


def check(asked: Any, *allowed: str) -> None:
    asyncio.run(require_allowed(catalogue(), asked, allowed))


def test_what_a_request_names_beside_its_model_must_be_allowed_too():
    named = Companion("lora", "loras/ink", frozenset({"lora"}), param="loras.0")
    check(prepared((named,)), "sd-turbo", "loras/*")
    with pytest.raises(ModelNotAllowed) as caught:
        check(prepared((named,)), "sd-turbo")
    assert caught.value.param == "loras.0"
    check(prepared(cutout_model="org/big"), "sd-turbo", "org/big")
    with pytest.raises(ModelNotAllowed) as caught:
        check(prepared(cutout_model="org/big"), "sd-turbo")
    assert caught.value.param == "cutout_model"


def test_what_the_server_chooses_for_a_part_may_be_any():
    chosen = Companion("lora", None, frozenset({"lora"}))
    check(prepared((chosen,), cutout_model=None, prompt="org/big"), "sd-turbo")


def test_a_model_that_takes_over_must_be_allowed():
    with pytest.raises(ModelNotAllowed):
        check(prepared(), "org/*")


def test_lists_show_what_a_key_may_use_and_nothing_else(tmp_path):
    services = build(tmp_path)
    shelf = Shelf(SMOL, BIG, TURBO)
    own = Catalogue(shelf, lambda _: False, unconverted)
    app = create_app(dataclasses.replace(services, registry=shelf, catalogue=own))
    body = json.dumps({"name": "x", "models": ["org/*"]}).encode()
    secret = json.loads(ask(app, "POST", "/v1/keys", ADMIN, body).body)["key"]
    limited = {"authorization": f"Bearer {secret}"}
    try:
        for headers, names in ((limited, [SMOL, BIG]), (ADMIN, [SMOL, BIG, TURBO])):
            told = json.loads(ask(app, "GET", "/v1/models", headers).body)
            shown = [model["id"] for model in told["data"]]
            assert shown == [model["name"] for model in told["models"]]
            assert (shown, told["count"]) == ([each.name for each in names], len(names))
        assert ask(app, "GET", "/v1/models/org/smol", limited).status == 200
        answer = ask(app, "GET", "/v1/models/sd-turbo", limited)
        assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
    finally:
        tear_down(services)


@pytest.fixture
def shop(tmp_path):
    """A server with three models, and what a key of all scopes sends that may use two of them."""
    services = build(tmp_path)
    shelf = Shelf(SMOL, BIG, TURBO)
    own = Catalogue(shelf, lambda _: False, unconverted)
    app = create_app(dataclasses.replace(services, registry=shelf, catalogue=own))
    wanted = {"name": "x", "models": ["org/*"], "scopes": ["infer", "manage", "admin"]}
    made = ask(app, "POST", "/v1/keys", ADMIN, json.dumps(wanted).encode())
    yield app, {"authorization": f"Bearer {json.loads(made.body)['key']}"}
    tear_down(services)


ROUTES = [
    ("GET", "/v1/models/{}"),
    ("GET", "/v1/models/{}/memory"),
    ("GET", "/v1/audio/voices?model={}"),
    ("POST", "/v1/models/{}/load"),
    ("POST", "/v1/models/{}/unload"),
    ("DELETE", "/v1/models/{}"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_key_has_nothing_done_to_a_model_that_it_may_not_use(shop, method, path):
    app, limited = shop
    answer = ask(app, method, path.format("sd-turbo"), limited)
    assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_name_that_is_none_is_not_answered_with_names_of_others(shop, method, path):
    app, limited = shop
    for headers, is_told in ((limited, False), (ADMIN, True)):
        answer = ask(app, method, path.format("sd-tubro"), headers)
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")
        assert (b"sd-turbo" in answer.body) is is_told


def test_a_request_for_no_model_is_not_answered_with_names_of_others():
    with pytest.raises(ModelNotFound) as caught:
        find("sd-tubro", "org/*")
    assert "sd-turbo" not in f"{caught.value.message} {caught.value.details}"
    with pytest.raises(ModelNotFound) as caught:
        check(prepared(cutout_model="org/bog"), "sd-turbo")
    assert "org/big" not in f"{caught.value.message} {caught.value.details}"
