"""The family `tryon`: `/api/v1/create-image`, and the pictures under `/media/`."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import pytest

from onebox.core.errors import InsufficientCredits, Unauthorized
from onebox.core.results import Artifact
from onebox.services.access.access import Access
from onebox.services.access.caller import Caller
from onebox.services.remote_media import RemoteMedia
from tests.unit.api.asking import ADMIN, USER, ask
from tests.unit.api.drawing import Drawings
from tests.unit.api.familiar import row, send, told
from tests.unit.api.reading import DATA_URL, PNG
from tests.unit.api.texts import app_with

PATH = "/api/v1/create-image"
GARMENT = "data:image/png;base64," + base64.b64encode(PNG + b"garment").decode()
ASKED = {
    "user_id": "user123",
    "api_key": "user-key",
    "catalog_id": "catalog456",
    "user_image_url": DATA_URL,
    "catalog_image_url": GARMENT,
}
NOBODY: dict[str, str] = {}


def create(services, drawings: Drawings | None = None, headers=NOBODY, **changed: Any):
    asked = {**ASKED, **changed}
    given = {name: value for name, value in asked.items() if value is not None}
    return send(services, PATH, given, drawings or Drawings(), headers)


def get(services, target: str):
    return ask(app_with(services, Drawings()), "GET", target)


@row("tryon", "POST /api/v1/create-image")
def test_a_person_wears_what_a_catalogue_shows(familiar):
    answer, drawings = create(familiar)
    body = told(answer)
    assert body.keys() == {"status", "image_url", "latency_ms"}
    assert body["status"] == "success"
    assert body["latency_ms"] >= 0
    assert body["image_url"].startswith("/media/")
    assert body["image_url"].endswith(".png")
    assert drawings.task == "try-on"
    assert drawings.input.person.data == PNG
    assert drawings.input.garment.data == PNG + b"garment"


@row("tryon", "GET /media/{name}")
def test_a_picture_is_where_its_link_says(familiar):
    answer, _ = create(familiar)
    file = get(familiar, told(answer)["image_url"])
    assert (file.status, file.body) == (200, PNG + b"\x01")
    assert file.headers["content-type"] == "image/png"
    assert file.headers["x-content-type-options"] == "nosniff"
    assert file.headers["cache-control"].startswith("private")


def test_a_link_begins_as_the_operator_says(familiar):
    settings = familiar.settings.model_copy(update={"public_url": "https://box.example"})
    services = dataclasses.replace(familiar, settings=settings)
    answer, _ = create(services)
    assert told(answer)["image_url"].startswith("https://box.example/media/")


def bad_names(services):
    signed = services.files.put(Artifact("image/png", PNG))
    stored = services.files.open(signed).path
    yield from ("x.png", f"{signed[:-3]}.png", f"{signed}A.png", stored.name, ".png")
    yield from ("..%2f..%2flinks.key", "%2e%2e%2flinks.key.png", "..", "a%00.png")
    stored.unlink()
    yield f"{signed}.png"


@pytest.fixture(scope="module", params=[False, True], ids=["links off", "links on"])
def guarded(request, familiar):
    """A server that connects to nothing."""

    def nowhere(*args: Any) -> Any:
        raise AssertionError("nothing may be connected to")

    remote = RemoteMedia(enabled=request.param, connect=nowhere)
    yield dataclasses.replace(familiar, remote_media=remote)
    remote.close()


def test_a_changed_link_opens_nothing(familiar):
    for name in bad_names(familiar):
        answer = get(familiar, f"/media/{name}")
        assert answer.status in (401, 404), name
        assert PNG not in answer.body


@pytest.mark.parametrize("key", ["admin-key", "user-key"])
def test_the_key_may_stand_in_the_body(familiar, key):
    answer, drawings = create(familiar, api_key=key)
    assert (answer.status, drawings.task) == (200, "try-on")


def test_the_key_may_stand_in_the_header_alone(familiar):
    answer, _ = create(familiar, headers=USER, api_key=None)
    assert answer.status == 200


@pytest.mark.parametrize(
    "key", [None, "", "wrong", "user-key ", "user key", "user-key\r\nX-A: b", "ключ", "x" * 3000]
)
def test_without_a_good_key_it_is_401(familiar, key):
    answer, drawings = create(familiar, api_key=key)
    assert (answer.status, drawings.task) == (401, "")
    body = json.loads(answer.body)
    assert (body["status"], body["error_code"]) == ("error", "INVALID_API_KEY")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"[]", b'{"api_key": 7}', b"[" * 5000])
def test_a_body_that_nobody_can_read_has_no_key(familiar, body):
    answer, drawings = send(familiar, PATH, body[:4000], Drawings(), NOBODY)
    assert (answer.status, drawings.task) == (401, "")


def test_the_header_wins_over_the_body(familiar):
    wrong = {"authorization": "Bearer wrong"}
    assert create(familiar, headers=wrong)[0].status == 401
    assert create(familiar, headers=ADMIN, api_key="wrong")[0].status == 200


def test_of_somebody_unknown_only_so_much_is_read(services, roomy, familiar):
    large = dataclasses.replace(
        familiar, settings=roomy.settings.model_copy(update={"compat": familiar.settings.compat})
    )
    big = "data:image/png;base64," + base64.b64encode(PNG + bytes(2**20)).decode()
    answer, drawings = create(large, user_image_url=big)
    assert (answer.status, drawings.task) == (401, "")
    assert b"1048576 bytes" in answer.body
    answer, drawings = create(large, headers=USER, user_image_url=big)
    assert (answer.status, drawings.task) == (200, "try-on")


def test_the_key_of_no_other_route_stands_in_a_body(familiar):
    asked = {"prompt": "x", "api_key": "user-key"}
    for path in ("/api/image", "/generate", "/local/generate", "/v1/generate"):
        answer, texts = send(familiar, path, asked, Drawings(), NOBODY)
        assert (answer.status, texts.task) == (401, "")


@pytest.mark.parametrize(("subject", "status"), [("user123", 200), ("user124", 403)])
def test_a_token_of_another_user_is_403(familiar, subject, status):
    token = familiar.access.authenticator.sign(subject, ["infer"], 60)
    answer, _ = create(familiar, api_key=token)
    assert answer.status == status
    if status == 403:
        assert json.loads(answer.body)["error_code"] == "INSUFFICIENT_SCOPE"


def test_a_token_without_the_scope_is_403(familiar):
    token = familiar.access.authenticator.sign("user123", [], 60)
    answer, drawings = create(familiar, api_key=token)
    assert (answer.status, drawings.task) == (403, "")


def test_an_empty_account_is_403(familiar):
    refusal = InsufficientCredits("nothing is left on the account")
    answer, _ = create(familiar, Drawings(refusal=refusal))
    assert answer.status == 403
    assert json.loads(answer.body)["detail"] == "nothing is left on the account"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://169.254.169.254/latest/meta-data",
            "https://127.0.0.1/a.png",
            "file:///etc/passwd",
        ),
        *("https://[::1]/a.png", "https://0x7f000001/a.png", "https://a@10.0.0.1/", "//x", "a.png"),
    ],
)
@pytest.mark.parametrize("field", ["user_image_url", "catalog_image_url"])
def test_links_to_this_machine_and_its_network_are_not_followed(guarded, field, url):
    answer, drawings = create(guarded, **{field: url})
    assert (answer.status, drawings.task) == (422, "")


@pytest.mark.parametrize(
    ("changed", "at_fault"),
    [
        ({"user_id": None}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"catalog_id": None}, "catalog_id"),
        ({"catalog_id": "x" * 257}, "catalog_id"),
        ({"user_image_url": None}, "user_image_url"),
        ({"catalog_image_url": "data:text/plain;base64,eA=="}, "data:image"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_what_cannot_be_used_is_named_and_the_key_is_not(familiar, changed, at_fault):
    answer, drawings = create(familiar, **changed)
    assert (answer.status, drawings.task) == (422, "")
    assert at_fault in answer.body.decode()
    assert b"user-key" not in answer.body


class Shop:
    """In place of a shop's backend: knows one key of one user."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []

    def knows(self, token: str, user_id: str | None = None) -> bool:
        return False

    async def verify(self, token: str, user_id: str | None = None) -> Caller:
        self.asked.append((token, user_id))
        if (token, user_id) != ("shop-key", "user123"):
            raise Unauthorized("the key is not valid")
        return Caller("backend:user123", frozenset({"infer"}))


def test_a_backend_is_asked_about_the_key_and_its_user(familiar):
    shop = Shop()
    access = Access(familiar.access.authenticator, familiar.access.keys, hook=shop)
    services = dataclasses.replace(familiar, access=access)
    for user, status in (("user123", 200), ("user124", 401)):
        assert create(services, api_key="shop-key", user_id=user)[0].status == status
    assert shop.asked == [("shop-key", "user123"), ("shop-key", "user124")]
