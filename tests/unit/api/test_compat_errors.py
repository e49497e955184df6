"""Errors of the familiar routes: each family in the shape of its servers, whatever went wrong."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from onebox.core import errors
from tests.unit.api.asking import USER, api_routes, ask
from tests.unit.api.drawing import Drawings
from tests.unit.api.familiar import row, send, with_families
from tests.unit.api.reading import FILE
from tests.unit.api.test_compat_tryon import ASKED as TRY_ON
from tests.unit.api.texts import Texts, app_with

STUDIO = "/api/image", {"prompt": "x"}
PROMPT = "/local/generate", {"prompt": "x"}
PHOTO = "/generate", [("product_file", FILE)]
TRYON = "/api/v1/create-image", TRY_ON
EXTRA = {"details": {}, "field": None}


class Bug(Drawings):
    async def prepare(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a secret of the server")


# What goes wrong: an error of ours or a bug, its status, and its code in `studio` and `generate`.
WRONGS = [
    (errors.ModelNotFound("m", param="model"), 404, "MODEL_NOT_FOUND", "NOT_FOUND"),
    (errors.TaskNotSupported("m"), 400, "TASK_NOT_SUPPORTED", "TASK_NOT_SUPPORTED"),
    (errors.Forbidden("m"), 403, "INSUFFICIENT_SCOPE", "INSUFFICIENT_SCOPE"),
    (errors.InvalidInput("m"), 422, "VALIDATION_ERROR", "INVALID_VALUE"),
    (errors.RateLimited("m"), 429, "RATE_LIMIT_ERROR", "RATE_LIMIT_EXCEEDED"),
    (errors.QuotaExceeded("m"), 429, "QUOTA_EXCEEDED", "QUOTA_EXCEEDED"),
    (errors.InferenceFailed("m"), 500, "INFERENCE_FAILED", "INFERENCE_FAILED"),
    (errors.UpstreamFailed("m"), 502, "HUGGINGFACE_API_ERROR", "UPSTREAM_ERROR"),
    (errors.OutOfMemory("m"), 503, "INSUFFICIENT_MEMORY", "INSUFFICIENT_MEMORY"),
    (errors.DeadlineExceeded("m"), 504, "TIMEOUT_ERROR", "TIMEOUT"),
]


def fails(familiar, route, wrong) -> tuple[int, dict[str, Any]]:
    answer, _ = send(familiar, *route, Drawings(refusal=wrong))
    return answer.status, json.loads(answer.body)


@row("studio", "errors")
@pytest.mark.parametrize(("wrong", "status", "code", "_"), WRONGS, ids=lambda value: str(value))
def test_studio_has_detail_code_and_status(familiar, wrong, status, code, _):
    wrong.message = "m"
    found, body = fails(familiar, STUDIO, wrong)
    body["detail"] = body["detail"][:1]
    assert (found, body) == (status, {"detail": "m", "error_code": code, "status_code": status})


@row("generate", "errors")
@pytest.mark.parametrize(("wrong", "status", "_", "code"), WRONGS, ids=lambda value: str(value))
def test_prompts_have_an_object_with_the_field(familiar, wrong, status, _, code):
    wrong.message = "m"
    found, body = fails(familiar, PROMPT, wrong)
    error = body["error"]
    assert error.pop("message")[:1] == "m"
    assert (found, error) == (
        status,
        {"code": code, "status": status, "field": wrong.param, "details": {}},
    )


WRONG_FIELDS = [
    ({}, "MISSING_REQUIRED_FIELD", "prompt"),
    ({"prompt": 7}, "INVALID_TYPE", "prompt"),
    ({"prompt": "x", "max_tokens": "many"}, "INVALID_TYPE", "max_tokens"),
    ({"prompt": "x", "max_tokens": 0}, "INVALID_VALUE", "max_tokens"),
    ({"prompt": "x", "temperature": 9}, "INVALID_VALUE", "temperature"),
    ({"prompt": "x", "best_of": 2}, "UNKNOWN_PARAMETER", "best_of"),
]


@pytest.mark.parametrize(("given", "code", "field"), WRONG_FIELDS)
def test_prompts_tell_a_wrong_type_from_a_wrong_value(familiar, given, code, field):
    answer, texts = send(familiar, PROMPT[0], given)
    assert (answer.status, answer.error["code"], answer.error["field"]) == (422, code, field)
    assert texts.task == ""


@row("photo", "errors")
@pytest.mark.parametrize(("wrong", "status", "code", "_"), WRONGS, ids=lambda value: str(value))
def test_photos_have_no_success(familiar, wrong, status, code, _):
    wrong.message = "m"
    found, body = fails(familiar, PHOTO, wrong)
    body["error"] = body["error"][:1]
    expected = {"success": False, "error": "m", "error_code": code, "path": "/generate"}
    assert (found, body) == (status, {**expected, "status_code": status})


@row("tryon", "errors")
@pytest.mark.parametrize(("wrong", "status", "code", "_"), WRONGS, ids=lambda value: str(value))
def test_try_on_has_a_status_of_error(familiar, wrong, status, code, _):
    wrong.message = "m"
    found, body = fails(familiar, TRYON, wrong)
    body["detail"] = body["detail"][:1]
    expected = {"status": "error", "detail": "m", "error_code": code, "status_code": status}
    assert (found, body) == (status, expected)


def keys_of(body: bytes) -> set[str]:
    return set(json.loads(body))


SHAPES = [
    (STUDIO, {"detail", "error_code", "status_code"}),
    (PROMPT, {"error"}),
    (PHOTO, {"success", "error", "error_code", "status_code", "path"}),
    (TRYON, {"status", "detail", "error_code", "status_code"}),
]


@pytest.mark.parametrize(("route", "keys"), SHAPES)
def test_a_bug_says_nothing_of_itself(familiar, route, keys):
    answer, _ = send(familiar, *route, Bug())
    assert (answer.status, keys_of(answer.body)) == (500, keys)
    assert b"secret" not in answer.body
    assert b"request id" in answer.body
    assert "x-request-id" in answer.headers


@pytest.mark.parametrize(("route", "keys"), SHAPES)
def test_no_key(familiar, route, keys):
    path, given = route
    if path == TRYON[0]:
        given = {**given, "api_key": "wrong"}
    answer, texts = send(familiar, path, given, Drawings(), {})
    assert (answer.status, keys_of(answer.body), texts.task) == (401, keys, "")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("route", "keys"), SHAPES)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_another_method(familiar, route, keys, method):
    if route is PHOTO:
        # Without a body it is not told apart from a prompt.
        keys = {"error"}
    answer = ask(app_with(familiar, Texts()), method, route[0], USER)
    assert (answer.status, keys_of(answer.body)) == (405, keys)


@pytest.mark.parametrize(("route", "keys"), SHAPES)
def test_a_body_that_is_too_large(familiar, route, keys):
    path, given = route
    given = (
        {**given, "prompt": "x" * 9000}
        if isinstance(given, dict)
        else [*given, ("prompt", "x" * 9000)]
    )
    answer, _ = send(familiar, path, given, Drawings(), USER)
    assert (answer.status, keys_of(answer.body)) == (413, keys)


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"[]"])
@pytest.mark.parametrize(("route", "keys"), [SHAPES[0], SHAPES[1], SHAPES[3]])
def test_a_body_that_is_no_json_object(familiar, route, keys, body):
    answer, _ = send(familiar, route[0], body, Drawings(), USER)
    assert (answer.status, keys_of(answer.body)) == (422, keys)


def test_the_shape_of_every_other_route_stays(familiar):
    answer, _ = send(familiar, "/v1/generate", {})
    assert answer.error.keys() >= {"type", "param", "request_id"}
    assert ask(app_with(familiar, Texts()), "POST", "/api/nothing", USER).error["status"] == 404


def test_routes_are_there_with_their_family_alone(services):
    own = {path for _, path in api_routes(app_with(services, Texts()))}
    found = {}
    for family in ("studio", "generate", "photo", "tryon"):
        alone = dataclasses.replace(services, **with_families(services, family))
        app = app_with(alone, Texts())
        found[family] = {path for _, path in api_routes(app)} - own
        assert found[family] <= set(app.openapi()["paths"])
        assert found[family].isdisjoint(app_with(services, Texts()).openapi()["paths"])
    assert found["generate"] == {"/generate", "/local/generate"}
    assert found["photo"] == {"/generate"}
    assert found["tryon"] == {"/api/v1/create-image", "/media/{name}"}
    assert len(found["studio"]) == 8
    for path in set.union(*found.values()):
        assert ask(app_with(services, Texts()), "POST", path, USER).status == 404


def test_the_pages_tell_the_errors_of_each_family(familiar):
    page = app_with(familiar, Texts()).openapi()
    named = {
        path: json.dumps(operation["responses"]["default"]["content"]["application/json"])
        for path, each in page["paths"].items()
        for operation in each.values()
    }
    assert "DetailError" in named["/api/image"]
    assert "FieldError" in named["/local/generate"]
    assert "FieldError" in named["/generate"]
    assert "PhotoError" in named["/generate"]
    assert "TryOnError" in named["/api/v1/create-image"]
    assert "TryOnError" in named["/media/{name}"]
    assert "ErrorAnswer" in named["/v1/generate"]
    content = page["paths"]["/generate"]["post"]["requestBody"]["content"]
    assert content.keys() == {"application/json", "multipart/form-data"}


def test_the_pages_name_the_service(services):
    assert app_with(services, Texts()).openapi()["info"]["title"] == "Onebox"
    settings = services.settings.model_copy(update={"service_name": "try-on"})
    named = dataclasses.replace(services, settings=settings)
    assert app_with(named, Texts()).openapi()["info"]["title"] == "try-on"
